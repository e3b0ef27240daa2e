// Imported once before a workload is known, so that the loader and the TypeScript compiler are warm.
export default (value: string): string => value;

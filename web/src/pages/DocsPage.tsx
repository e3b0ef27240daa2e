export default function DocsPage({ path }: { path: string }) { return <>{path}</>; }

// Loaded once before it counts, see node.mjs.
export default () => null;

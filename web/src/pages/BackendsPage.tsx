export default function BackendsPage() { return null; }

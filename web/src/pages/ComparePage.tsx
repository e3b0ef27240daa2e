export default function ComparePage({ id }: { id: string | null }) { return <>{id}</>; }

// A function in TypeScript; it may be async.
interface Input {
  name?: string;
}

export default async function (input: Input | null): Promise<{ greeting: string }> {
  const name: string = input?.name ?? "world";
  console.log(`TypeScript greets ${name}`);
  return { greeting: `hello, ${name}` };
}

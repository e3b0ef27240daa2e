// A function: what the default export returns is the workload's output.
export default function (input) {
  const name = input?.name ?? "world";
  console.log(`JavaScript greets ${name}`);
  return { greeting: `hello, ${name}` };
}

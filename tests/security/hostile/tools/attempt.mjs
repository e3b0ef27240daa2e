// Lets hostile programs in JavaScript say what they got and what was denied.
export const env = globalThis.process.env

export async function attempt(name, what) {
  try {
    const value = await what()
    console.log(`got ${name}: ${String(value).slice(0, 300)}`)
    return value
  } catch (error) {
    console.log(`denied ${name}: ${error?.code ?? error?.name ?? error}`)
  }
}

// Tries to talk to a service of the host without having a network.
// isolate, gvisor, microvm: denied
import net from "node:net"
import { attempt, env } from "./attempt.mjs"

for (const host of env.HOST_ADDRESSES.split(",")) {
  await attempt(`fetch ${host}`, async () => (await fetch(`http://${host}:${env.HOST_PORT}/`)).text())
  await attempt(`socket ${host}`, () => new Promise((got, denied) => {
    const socket = net.connect({ host, port: Number(env.HOST_PORT), timeout: 1000 })
    socket.on("data", (data) => { got(data); socket.destroy() })
    socket.on("error", denied)
    socket.on("timeout", () => denied(new Error("silence")))
  }))
}

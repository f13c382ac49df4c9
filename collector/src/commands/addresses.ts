import type { Config } from '../config'

/** The host by which programs on this machine reach a listener. */
export function hostHere(host: string): string {
  return /^(0\.0\.0\.0|::)$/.test(host) ? 'localhost' : host
}

/** Where a browser on this machine finds the collector. */
export function webAddress({ http }: Config, port: number): string {
  const host = hostHere(http.host)
  const name = host.includes(':') ? `[${host}]` : host
  return `${http.tls === undefined ? 'http' : 'https'}://${name}:${port}${http.base_path}/`
}

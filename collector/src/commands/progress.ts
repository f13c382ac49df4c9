import { Presets, SingleBar } from 'cli-progress'

/** A bar on the terminal while a command works long; nothing where nobody watches. */
interface Progress {
  /** @param total 0 while it isn't known */
  update(done: number, total: number): void
  stop(): void
}

export function showProgress(label: string, stream: NodeJS.WriteStream = process.stderr): Progress {
  if (!stream.isTTY) return { update() {}, stop() {} }
  const bar = new SingleBar(
    { format: `${label} {bar} {percentage} %, {eta_formatted} left`, stream, hideCursor: true, clearOnComplete: true },
    Presets.shades_classic,
  )
  let started = false
  return {
    update(done, total) {
      if (total <= 0) return
      if (!started) bar.start(total, 0)
      started = true
      bar.setTotal(total)
      bar.update(Math.min(done, total))
    },
    stop() {
      if (started) bar.stop()
      started = false
    },
  }
}

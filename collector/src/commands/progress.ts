import { Presets, SingleBar } from 'cli-progress'

/** Shows a bar on the terminal while a command runs. It shows nothing when standard error isn't a terminal. */
interface Progress {
  /** @param total 0 while the total is unknown */
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

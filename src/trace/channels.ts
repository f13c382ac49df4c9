import { type Channel, channel } from 'node:diagnostics_channel'

/** What programs may subscribe to; docs/api.md names the messages. Ask `hasSubscribers` before making one. */
export const spanStart = channel('milo:span:start')
export const spanEnd = channel('milo:span:end')
export const spanDrop = channel('milo:span:drop')

let telling = false

/** Publishes, but not while a subscriber runs: spans that it makes itself would call it again without end. */
export function tell(to: Channel, message: object): void {
  if (telling) return
  telling = true
  try {
    to.publish(message)
  } finally {
    telling = false
  }
}

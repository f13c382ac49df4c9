import { type Channel, channel } from 'node:diagnostics_channel'

/** What programs may subscribe to; docs/api.md names the messages. Ask `hasSubscribers` before making one. */
export const spanStart = channel('milo:span:start')
export const spanEnd = channel('milo:span:end')
export const spanDrop = channel('milo:span:drop')

let telling = false

/** A subscriber may make spans of its own: of those nobody is told, or it would never end. */
export function tell(to: Channel, message: object): void {
  if (telling) return
  telling = true
  try {
    to.publish(message)
  } finally {
    telling = false
  }
}

import { localTime, shortLocalTime, utcTime } from './time'

/** A time in the viewer's zone, which tells UTC when it is pointed at. */
export function TimeStamp({ us, short = false }: { us: number; short?: boolean }) {
  const utc = utcTime(us)
  return (
    <time dateTime={utc} title={utc === undefined ? undefined : `${utc} (UTC)`}>
      {short ? shortLocalTime(us) : localTime(us)}
    </time>
  )
}

import { localTime, shortLocalTime, utcTime } from './time'

/** Shows a time in the viewer's zone; its tooltip shows UTC. */
export function TimeStamp({ us, short = false }: { us: number; short?: boolean }) {
  const utc = utcTime(us)
  return (
    <time dateTime={utc} title={utc === undefined ? undefined : `${utc} (UTC)`}>
      {short ? shortLocalTime(us) : localTime(us)}
    </time>
  )
}

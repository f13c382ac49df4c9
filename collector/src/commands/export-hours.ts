import { userInfo } from 'node:os'
import type { Config } from '../config'
import type { Logger } from '../log'
import { type Compression, hasCompression } from '../offline/compression'
import { type Destination, ExportError } from '../offline/destination'
import { Folder } from '../offline/folder'
import { isHdfs, parseHdfsAddress } from '../offline/hdfs/address'
import { HdfsFolder } from '../offline/hdfs/folder'
import { exportHours } from '../offline/hour-files'
import { HOUR_US, type Hours, parseHours } from '../offline/hours'
import { RemoteHours } from '../offline/remote-hours'
import { MARGIN_US } from '../store/hours'
import { openHours } from '../store/open'
import { type HourReader, StoreError } from '../store/store'
import { webAddress } from './addresses'
import { CommandError, UsageError } from './command-error'
import { mustHaveStore } from './command-store'
import { showProgress } from './progress'
import { collectorAt, secret } from './running-collector'

/** Writes what was accepted in whole hours as files for analyses elsewhere, such as Hadoop's. */

export interface ExportHoursOptions {
  hours: string
  /** A folder, or the address of one in HDFS. */
  to: string
  /** The address of a running collector; without one, the store is read. */
  from?: string
  compress?: Compression
  tokenFile?: string
  hdfsTokenFile?: string
}

export async function exportByHours(config: Config, log: Logger, options: ExportHoursOptions): Promise<void> {
  const { compress = 'none' } = options
  const nowUs = Date.now() * 1000
  const hours = readHours(options.hours, nowUs)
  if (!hasCompression(compress)) {
    throw new UsageError(`--compress ${compress} needs Node 22.15 or later, and this is ${process.version}: give gzip`)
  }
  const progress = showProgress('export')
  let reader: (HourReader & { close?(): Promise<void> }) | undefined
  try {
    const to = destinationOf(options, log)
    reader = await readerOf(config, options)
    const exported = await exportHours(reader, to, hours, { compress, nowUs, progress: progress.update, log })
    progress.stop()
    if (exported.written + exported.alreadyThere === 0) {
      const next = new Date(nextHourUs(nowUs) / 1000).toISOString().slice(0, 16)
      log.warn(
        { leftOut: exported.leftOut },
        `no whole hour of these is stored: nothing is written. The hour that is running can be exported from ${next}Z on`,
      )
      return
    }
    log.info({ ...exported }, 'exported')
    if (exported.damaged > 0) log.warn({ rows: exported.damaged }, 'damaged rows were left out: milo-collector verify')
  } catch (error) {
    if (!(error instanceof ExportError)) throw error
    throw new CommandError(`${error.message}. Whole files stay: the same command goes on`)
  } finally {
    progress.stop()
    await reader?.close?.()
  }
}

/** Returns when the hour that is running can be exported, in microseconds. */
function nextHourUs(nowUs: number): number {
  return Math.floor(nowUs / HOUR_US) * HOUR_US + HOUR_US + MARGIN_US
}

function readHours(text: string, nowUs: number): Hours {
  try {
    return parseHours(text, nowUs)
  } catch (error) {
    throw new UsageError(`--hours ${(error as Error).message}`)
  }
}

function destinationOf({ to, hdfsTokenFile }: ExportHoursOptions, log: Logger): Destination {
  if (!isHdfs(to)) {
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(to))
      throw new UsageError('--to: give a folder, hdfs://…, webhdfs://… or swebhdfs://…')
    return new Folder(to)
  }
  const address = parseHdfsAddress(to)
  log.info({ namenodes: address.namenodes, path: address.path }, 'writing by WebHDFS')
  const token = secret('MILO_HDFS_TOKEN', hdfsTokenFile, '--hdfs-token-file')
  return new HdfsFolder(address, { user: address.user ?? process.env.HADOOP_USER_NAME ?? userInfo().username, token })
}

async function readerOf(config: Config, { from, tokenFile }: ExportHoursOptions) {
  if (from !== undefined) {
    const token = secret('MILO_EXPORT_TOKEN', tokenFile, '--token-file')
    return new RemoteHours(collectorAt('--from', from, token))
  }
  mustHaveStore(config, 'to export from')
  try {
    return await openHours(config)
  } catch (error) {
    const { port } = config.http
    if (!(error instanceof StoreError && error.code === 'MILO_STORE_LOCKED') || port === 0) throw error
    throw new StoreError(error.code, `${error.message}; or ask that collector: --from ${webAddress(config, port)}`)
  }
}

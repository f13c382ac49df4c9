import type { ActivityMinute } from '../activity/activity'
import { closedError } from '../pipeline/group-commit'
import type { IndexSettings } from '../search/index-policy'
import type {
  Backlog,
  CompletionQuery,
  Message,
  SavedSearch,
  SearchPage,
  SearchQuery,
  Store,
  StoredTrace,
} from '../store'
import { StoreError } from '../store'

/**
 * A store whose databases were away when the collector started. It looks for them again and again; until it has found them
 * it refuses everything, with the reason, and then it is the store.
 */

const RETRY_MS = [250, 4_000] as const

export class WaitingStore implements Store {
  private readonly connect: () => Promise<Store>
  private readonly log: (message: string) => void
  private store: Store | undefined
  private index: IndexSettings | undefined
  private reason: unknown
  private timer: NodeJS.Timeout | undefined
  private connecting: Promise<void> | undefined
  private closing: Promise<void> | undefined

  constructor(connect: () => Promise<Store>, reason: unknown, log: (message: string) => void) {
    this.connect = connect
    this.reason = reason
    this.log = log
    this.retry(RETRY_MS[0])
  }

  append(messages: Message[]): Promise<void> {
    return this.ask(store => store.append(messages))
  }
  readTrace(traceId: bigint, maxBytes?: number): Promise<StoredTrace> {
    return this.ask(store => store.readTrace(traceId, maxBytes))
  }
  search(query: SearchQuery): Promise<SearchPage> {
    return this.ask(store => store.search(query))
  }
  complete(query: CompletionQuery): Promise<string[]> {
    return this.ask(store => store.complete(query))
  }
  activity(fromUs: number, toUs: number): Promise<ActivityMinute[]> {
    return this.ask(store => store.activity(fromUs, toUs))
  }
  savedSearches(): Promise<SavedSearch[]> {
    return this.ask(store => store.savedSearches())
  }
  saveSearch(search: SavedSearch): Promise<void> {
    return this.ask(store => store.saveSearch(search))
  }
  deleteSearch(id: string): Promise<boolean> {
    return this.ask(store => store.deleteSearch(id))
  }
  check(): Promise<void> {
    return this.ask(store => store.check())
  }
  dead(): string | undefined {
    return this.store?.dead()
  }
  setIndex(settings: IndexSettings): void {
    this.index = settings
    this.store?.setIndex(settings)
  }
  backlog(): Backlog {
    return this.store?.backlog() ?? { spans: 0, bytes: 0, notUtf8: 0, putAside: 0, settlingMs: 0 }
  }

  close(): Promise<void> {
    this.closing ??= (async () => {
      clearTimeout(this.timer)
      this.reason = closedError()
      if (this.store !== undefined) return this.store.close()
      // An attempt under way may take as long as its databases are silent: what it still brings is closed then.
      void this.connecting?.then(() => this.store?.close()).catch(() => {})
    })()
    return this.closing
  }

  private async ask<R>(question: (store: Store) => Promise<R>): Promise<R> {
    if (this.store === undefined) throw this.reason
    return question(this.store)
  }

  private retry(delayMs: number): void {
    this.timer = setTimeout(() => {
      this.connecting = this.connect().then(
        store => {
          this.store = store
          if (this.index !== undefined) store.setIndex(this.index)
          if (this.closing === undefined) this.log('the databases are there: spans are accepted')
        },
        error => {
          if (this.closing !== undefined) return
          // What an operator has to mend is said when it turns up.
          const message = (error as Error).message
          if (!(error instanceof StoreError) || error.message !== (this.reason as Error).message) this.log(message)
          this.reason = error
          this.retry(Math.min(delayMs * 2, RETRY_MS[1]))
        },
      )
    }, delayMs)
  }
}

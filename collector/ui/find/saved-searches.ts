import { useCallback, useEffect, useState } from 'preact/hooks'
import type { SavedSearchAnswer, SavedSearchesAnswer } from '../../src/http/answers'
import { requestJson, sendJson } from '../shell/json'
import type { Problem } from '../shell/problem'

export interface SavedSearches {
  /** Null until the list has been loaded. */
  list: SavedSearchAnswer[] | null
  problem: Problem | null
  save(name: string, query: string): Promise<SavedSearchAnswer | null>
  rename(id: string, name: string): Promise<void>
  remove(id: string): Promise<void>
  /** The id of the search that the start page shows this viewer; empty for the newest traces. */
  defaultId: string
  setDefault(id: string): void
}

const DEFAULT_KEY = 'milo.default-search'

export function useSavedSearches(): SavedSearches {
  const [list, setList] = useState<SavedSearchAnswer[] | null>(null)
  const [problem, setProblem] = useState<Problem | null>(null)
  const [defaultId, setDefaultId] = useState(readDefault)
  const load = useCallback(async () => {
    const { searches } = await requestJson<SavedSearchesAnswer>('api/saved-searches')
    setList(searches)
  }, [])
  const attempt = async <T>(change: () => Promise<T>): Promise<T | null> => {
    try {
      const result = await change()
      setProblem(null)
      return result
    } catch (problem) {
      setProblem(problem as Problem)
      return null
    }
  }
  useEffect(() => {
    void attempt(load)
  }, [])
  const url = (id: string) => `api/saved-searches/${encodeURIComponent(id)}`
  return {
    list,
    problem,
    defaultId,
    save: (name, query) =>
      attempt(async () => {
        const saved = await sendJson<SavedSearchAnswer>('POST', 'api/saved-searches', { name, query })
        await load()
        return saved
      }),
    rename: async (id, name) => {
      await attempt(async () => {
        await sendJson('PUT', url(id), { name })
        await load()
      })
    },
    remove: async id => {
      await attempt(async () => {
        await sendJson('DELETE', url(id))
        await load()
      })
      if (id === defaultId) chooseDefault('')
    },
    setDefault: chooseDefault,
  }

  function chooseDefault(id: string): void {
    try {
      if (id === '') localStorage.removeItem(DEFAULT_KEY)
      else localStorage.setItem(DEFAULT_KEY, id)
    } catch {
      // Storage is forbidden: the choice lasts until the page is closed.
    }
    setDefaultId(id)
  }
}

function readDefault(): string {
  try {
    return localStorage.getItem(DEFAULT_KEY) ?? ''
  } catch {
    return ''
  }
}

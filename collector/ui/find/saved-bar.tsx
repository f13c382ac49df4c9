import { useRef, useState } from 'preact/hooks'
import type { SavedSearchAnswer } from '../../src/http/answers'
import { CopyButton } from '../parts/copy-button'
import { navigate } from '../shell/address'
import type { SavedSearches } from './saved-searches'

interface Props {
  saved: SavedSearches
  /** The id of the search that is shown, or an empty string. */
  current: string
  /** The query that would be saved; null if there is none. */
  query: string | null
}

/** Shows saved searches as links, with buttons to save, rename and delete them. */
export function SavedBar({ saved, current, query }: Props) {
  const { list, problem } = saved
  const dialog = useRef<HTMLDialogElement>(null)
  const [naming, setNaming] = useState(false)
  const save = async (event: SubmitEvent) => {
    event.preventDefault()
    const name = String(new FormData(event.currentTarget as HTMLFormElement).get('search-name')).trim()
    if (name === '' || query === null) return
    const search = await saved.save(name, query)
    if (search === null) return
    setNaming(false)
    navigate(savedHref(search))
  }
  return (
    <div class="saved">
      {list !== null && list.length > 0 && (
        <nav aria-label="Saved searches">
          {list.map(search => (
            <a
              key={search.id}
              href={savedHref(search)}
              class="chip"
              aria-current={search.id === current ? 'page' : undefined}
            >
              {search.id === saved.defaultId && (
                <span role="img" aria-label="default">
                  ★{' '}
                </span>
              )}
              {search.name}
            </a>
          ))}
        </nav>
      )}
      {query !== null && (
        <div class="popover-place">
          <button type="button" class="small" aria-expanded={naming} onClick={() => setNaming(!naming)}>
            Save this search
          </button>
          {naming && (
            <form
              class="choices popover"
              onSubmit={save}
              onKeyDown={event => {
                if (event.key === 'Escape') setNaming(false)
              }}
            >
              <label for="search-name">Name</label>
              <input id="search-name" name="search-name" maxLength={200} autocomplete="off" required ref={focus} />
              <button type="submit">Save</button>
              <button type="button" onClick={() => setNaming(false)}>
                Cancel
              </button>
            </form>
          )}
        </div>
      )}
      {list !== null && list.length > 0 && (
        <button type="button" class="small" onClick={() => dialog.current?.showModal()}>
          Manage
        </button>
      )}
      {problem !== null && (
        <p class="field-problem" role="alert">
          {problem.message}
        </p>
      )}
      <dialog ref={dialog} class="dialog" aria-labelledby="saved-title">
        <div class="dialog-head">
          <h2 id="saved-title">Saved searches</h2>
          <button type="button" class="small" onClick={() => dialog.current?.close()}>
            Close
          </button>
        </div>
        <p class="hint">
          Everyone who uses this collector sees these searches. The default is for you alone: this page opens with it.
        </p>
        <ul class="saved-list">
          {list?.map(search => (
            <Item key={search.id} search={search} saved={saved} />
          ))}
        </ul>
      </dialog>
    </div>
  )
}

function Item({ search, saved }: { search: SavedSearchAnswer; saved: SavedSearches }) {
  const rename = (event: SubmitEvent) => {
    event.preventDefault()
    const name = String(new FormData(event.currentTarget as HTMLFormElement).get('name')).trim()
    if (name !== '' && name !== search.name) void saved.rename(search.id, name)
  }
  const isDefault = search.id === saved.defaultId
  return (
    <li>
      <form onSubmit={rename}>
        <input name="name" aria-label={`Name of ${search.name}`} defaultValue={search.name} maxLength={200} required />
        <button type="submit" class="small">
          Rename
        </button>
      </form>
      <code>{readable(search.query)}</code>
      <div class="choices">
        <button
          type="button"
          class="small"
          aria-pressed={isDefault}
          onClick={() => saved.setDefault(isDefault ? '' : search.id)}
        >
          {isDefault ? '★ Default' : 'Make default'}
        </button>
        <CopyButton text={`${location.origin}${savedHref(search)}`} what={`the link to ${search.name}`} />
        <button type="button" class="small" onClick={() => void saved.remove(search.id)}>
          Delete
        </button>
      </div>
    </li>
  )
}

function readable(query: string): string {
  const params = new URLSearchParams(query)
  return params.get('q') ?? [...params].map(([key, value]) => `${key} ${value}`).join(', ')
}

function savedHref({ id }: SavedSearchAnswer): string {
  return `search?saved=${encodeURIComponent(id)}`
}

function focus(input: HTMLInputElement | null): void {
  input?.focus()
}

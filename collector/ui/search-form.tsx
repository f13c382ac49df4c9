import { findHref, navigate, type SearchTerms } from './route'

const FIELDS = [
  { id: 'name', label: 'Name', placeholder: 'Service.method' },
  { id: 'key', label: 'Key', placeholder: 'of an annotation' },
  { id: 'value', label: 'Value', placeholder: 'of that key, or of any' },
] as const

export function SearchForm({ terms }: { terms: Omit<SearchTerms, 'before'> }) {
  const search = (event: SubmitEvent) => {
    event.preventDefault()
    const data = new FormData(event.currentTarget as HTMLFormElement)
    navigate(findHref(Object.fromEntries(FIELDS.map(({ id }) => [id, String(data.get(id))]))))
  }
  return (
    <search>
      <form class="search" action="/" onSubmit={search}>
        {FIELDS.map(({ id, label, placeholder }) => (
          <div class="field" key={id}>
            <label for={id}>{label}</label>
            <input
              id={id}
              name={id}
              defaultValue={terms[id]}
              placeholder={placeholder}
              autocomplete="off"
              autocapitalize="none"
              spellcheck={false}
            />
          </div>
        ))}
        <button type="submit" class="main">
          Search
        </button>
      </form>
    </search>
  )
}

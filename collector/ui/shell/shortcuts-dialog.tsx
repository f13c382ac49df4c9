import { Fragment } from 'preact'
import { useRef, useState } from 'preact/hooks'
import { activeShortcuts, type Group, useShortcuts } from './shortcuts'

/** The button `?` and the dialog that lists the shortcuts of the current page. */
export function ShortcutsDialog() {
  const dialog = useRef<HTMLDialogElement>(null)
  const [groups, setGroups] = useState<Group[]>([])
  const open = () => {
    setGroups(activeShortcuts())
    dialog.current?.showModal()
  }
  useShortcuts('Everywhere', [{ keys: ['?'], does: 'show this list', run: open }])
  return (
    <>
      <button type="button" class="icon" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" onClick={open}>
        <span aria-hidden="true">?</span>
      </button>
      <dialog ref={dialog} class="dialog" aria-labelledby="shortcuts-title">
        <div class="dialog-head">
          <h2 id="shortcuts-title">Keyboard shortcuts</h2>
          <button type="button" class="small" onClick={() => dialog.current?.close()}>
            Close
          </button>
        </div>
        {groups.map(({ title, shortcuts }) => (
          <Fragment key={title}>
            <h3>{title}</h3>
            <dl class="keys">
              {shortcuts.map(({ keys, does }) => (
                <div key={does}>
                  <dt>
                    {keys.map(key => (
                      <kbd key={key}>{NAMES[key] ?? key}</kbd>
                    ))}
                  </dt>
                  <dd>{does}</dd>
                </div>
              ))}
            </dl>
          </Fragment>
        ))}
      </dialog>
    </>
  )
}

const NAMES: Record<string, string> = {
  ArrowUp: '↑',
  ArrowDown: '↓',
  ArrowLeft: '←',
  ArrowRight: '→',
  Escape: 'Esc',
  ' ': 'Space',
}

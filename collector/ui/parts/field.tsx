import { useId } from 'preact/hooks'

interface FieldProps {
  name: string
  label: string
  placeholder: string
  value: string | undefined
  wide?: boolean
}

/** A labeled input of a form. */
export function Field({ name, label, placeholder, value = '', wide = false }: FieldProps) {
  const id = useId()
  return (
    <div class={wide ? 'field wide' : 'field'}>
      <label for={id}>{label}</label>
      <input
        id={id}
        name={name}
        defaultValue={value}
        placeholder={placeholder}
        autocomplete="off"
        autocapitalize="none"
        spellcheck={false}
      />
    </div>
  )
}

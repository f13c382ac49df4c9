import { setToken } from './credentials'

/** Where the collector wants a token, which no browser sends by itself. */
export function TokenForm({ onGiven }: { onGiven(): void }) {
  const give = (event: SubmitEvent) => {
    event.preventDefault()
    setToken(String(new FormData(event.currentTarget as HTMLFormElement).get('token')).trim())
    onGiven()
  }
  return (
    <form class="choices" onSubmit={give}>
      <label for="token">Token</label>
      <input id="token" name="token" type="password" autocomplete="off" required />
      <button type="submit">Continue</button>
    </form>
  )
}

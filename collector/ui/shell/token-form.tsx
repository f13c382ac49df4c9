import { setToken } from './credentials'

/** Asks for the token that the collector requires; browsers don't ask for tokens themselves. */
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

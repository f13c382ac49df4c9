export function Legend({ skewed }: { skewed: boolean }) {
  return (
    <ul class="legend" aria-label="Legend">
      <li>
        <span class="swatch pale" /> client half: network and waiting
      </li>
      <li>
        <span class="swatch solid" /> server half, or work without a call
      </li>
      <li>
        <span class="swatch path" /> critical path
      </li>
      <li>
        <span class="swatch failed-end" /> ended in an error
      </li>
      {skewed && <li>clocks differ between hosts: times have been corrected</li>}
    </ul>
  )
}

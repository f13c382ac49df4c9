export function Legend({ skewed, grouped }: { skewed: boolean; grouped: boolean }) {
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
      {grouped && <li>42 ×: siblings that are alike, all in one row; Σ is their time in all</li>}
      {skewed && <li>clocks differ between hosts: times have been corrected</li>}
    </ul>
  )
}

import type { RefObject } from 'preact'
import { useLayoutEffect, useRef } from 'preact/hooks'
import { fit, pan, type View, zoom } from './view'

/**
 * Handles the wheel and dragging over the bars. The wheel with Ctrl (which a pinch on a touchpad sends too) zooms around the
 * pointer; sideways or with Shift it pans; dragging pans. The wheel alone scrolls the page.
 */
export function useWheelAndDrag(
  list: RefObject<HTMLElement | null>,
  view: View,
  extent: View,
  show: (view: View) => void,
): void {
  const latest = useRef({ view, extent, show })
  latest.current = { view, extent, show }
  useLayoutEffect(() => {
    const target = list.current!
    const lane = () => (target.querySelector('canvas') ?? target).getBoundingClientRect()
    // There may be many wheel events in a frame; each adds to the one before.
    let next: View | undefined
    let frame = 0
    const set = (view: View) => {
      next = view
      frame ||= requestAnimationFrame(() => {
        frame = 0
        latest.current.show(next!)
        next = undefined
      })
    }
    const wheel = (event: WheelEvent) => {
      const { left, width } = lane()
      const { extent } = latest.current
      const view = next ?? latest.current.view
      const sideways = event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX
      if (event.ctrlKey || event.metaKey) {
        const at = view.from + (Math.min(Math.max(event.clientX - left, 0), width) / width) * (view.to - view.from)
        set(zoom(view, extent, at, Math.exp(Math.max(-200, Math.min(200, event.deltaY)) / 250)))
      } else if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY))
        set(pan(view, extent, sideways / width))
      else return
      event.preventDefault()
    }
    let grip: { x: number; view: View } | undefined
    const down = (event: PointerEvent) => {
      const { left, right } = lane()
      const { view } = latest.current
      if (event.button === 0 && event.pointerType === 'mouse' && event.clientX >= left && event.clientX <= right) {
        grip = { x: event.clientX, view }
      }
    }
    const move = (event: PointerEvent) => {
      if (grip === undefined || Math.abs(event.clientX - grip.x) < 4) return
      const us = ((grip.x - event.clientX) / lane().width) * (grip.view.to - grip.view.from)
      set(fit({ from: grip.view.from + us, to: grip.view.to + us }, latest.current.extent))
      target.classList.add('dragging')
    }
    const up = () => {
      grip = undefined
      if (!target.classList.contains('dragging')) return
      target.classList.remove('dragging')
      // The click that ends a drag selects nothing.
      const swallow = (event: Event) => event.stopPropagation()
      target.addEventListener('click', swallow, { capture: true, once: true })
      setTimeout(() => target.removeEventListener('click', swallow, { capture: true }))
    }
    target.addEventListener('wheel', wheel, { passive: false })
    target.addEventListener('pointerdown', down)
    addEventListener('pointermove', move)
    addEventListener('pointerup', up)
    return () => {
      cancelAnimationFrame(frame)
      target.removeEventListener('wheel', wheel)
      target.removeEventListener('pointerdown', down)
      removeEventListener('pointermove', move)
      removeEventListener('pointerup', up)
    }
  }, [list])
}

import type { RefObject } from 'preact'
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import type { View } from './view'

/** A drag over fewer pixels is a click. */
const CLICK_PX = 4

/**
 * Returns the time range that the user is choosing by dragging over an element that shows `across`; null while nothing is
 * dragged. A click chooses nothing.
 */
export function useDrag(
  element: RefObject<HTMLElement | null>,
  across: View,
  onChoose: (view: View) => void,
): View | null {
  const [chosen, setChosen] = useState<View | null>(null)
  const latest = useRef({ across, onChoose })
  latest.current = { across, onChoose }
  useLayoutEffect(() => {
    const target = element.current!
    let startX: number | undefined
    const between = (a: number, b: number): View => {
      const { left, width } = target.getBoundingClientRect()
      const { from, to } = latest.current.across
      const at = (x: number) => from + (Math.min(Math.max(x - left, 0), width) / width) * (to - from)
      return { from: at(Math.min(a, b)), to: at(Math.max(a, b)) }
    }
    const down = (event: PointerEvent) => {
      if (event.button !== 0) return
      startX = event.clientX
      target.setPointerCapture(event.pointerId)
      event.preventDefault()
    }
    const move = (event: PointerEvent) => {
      if (startX !== undefined && Math.abs(event.clientX - startX) >= CLICK_PX)
        setChosen(between(startX, event.clientX))
    }
    const up = (event: PointerEvent) => {
      if (startX !== undefined && Math.abs(event.clientX - startX) >= CLICK_PX) {
        latest.current.onChoose(between(startX, event.clientX))
      }
      cancel()
    }
    const cancel = () => {
      startX = undefined
      setChosen(null)
    }
    target.addEventListener('pointerdown', down)
    target.addEventListener('pointermove', move)
    target.addEventListener('pointerup', up)
    target.addEventListener('pointercancel', cancel)
    return () => {
      target.removeEventListener('pointerdown', down)
      target.removeEventListener('pointermove', move)
      target.removeEventListener('pointerup', up)
      target.removeEventListener('pointercancel', cancel)
    }
  }, [element])
  return chosen
}

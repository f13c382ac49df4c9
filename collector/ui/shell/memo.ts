import { Component, type ComponentType, h } from 'preact'

/** Wraps a component so that it renders again only when one of its properties changes. */
export function memo<P extends object>(Inner: ComponentType<P>): ComponentType<P> {
  return class extends Component<P> {
    override shouldComponentUpdate(next: P): boolean {
      return Object.keys(next).some(key => next[key as keyof P] !== this.props[key as keyof P])
    }
    override render() {
      return h(Inner, this.props as P & preact.Attributes)
    }
  } as unknown as ComponentType<P>
}

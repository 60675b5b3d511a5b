// What a task of one's own gives may have the names that a view looks for and other values: then it is shown as it is.

import { Component } from "preact";

/** fallback: what is shown where the children cannot be drawn. */
export class Guard extends Component {
  static getDerivedStateFromError(error) {
    return { error };
  }

  render({ children, fallback }, { error }) {
    return error ? fallback : children;
  }
}

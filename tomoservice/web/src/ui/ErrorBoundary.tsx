import { Component, type ReactNode } from "react";

/** Shows what went wrong in a screen instead of an empty page. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { error?: Error }> {
  override state: { error?: Error } = {};

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    return (
      <div className="empty" role="alert">
        <h1>This screen has failed</h1>
        <p>{error.message}</p>
        <p className="faint">What is stored in the service is not affected.</p>
        <button type="button" className="primary" onClick={() => window.location.reload()}>
          Load the page again
        </button>
      </div>
    );
  }
}

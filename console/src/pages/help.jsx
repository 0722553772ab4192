import { useEffect, useRef, useState } from "preact/hooks";
import { Marked } from "marked";
import { Empty, Panel, Problem } from "../parts.jsx";

const slug = (text) => text.toLowerCase().replace(/<[^>]*>|[^\w\- ]/g, "").trim().replaceAll(" ", "-");

const marked = new Marked({
  renderer: {
    heading({ tokens, depth, text }) {
      return `<h${Math.min(depth + 1, 6)} id="${slug(text)}" tabindex="-1">${this.parser.parseInline(tokens)}</h${Math.min(depth + 1, 6)}>`;
    },
    link({ href, tokens }) {
      const text = this.parser.parseInline(tokens);
      return href.startsWith("#") ? `<a href="#/help/${href.slice(1)}">${text}</a>` : text; // other pages are not here
    },
    table(token) {
      const row = (cells, tag) => `<tr>${cells.map((cell) => `<${tag}>${this.parser.parseInline(cell.tokens)}</${tag}>`).join("")}</tr>`;
      return `<div class="scroll" tabindex="0"><table><thead>${row(token.header, "th")}</thead><tbody>${token.rows.map((cells) => row(cells, "td")).join("")}</tbody></table></div>`;
    },
    code({ text }) {
      return `<pre tabindex="0"><code>${text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")}</code></pre>`;
    },
  },
});

// The operations page of the documentation, as the server has it.
export function Help({ rest }) {
  const [state, setState] = useState({});
  const page = useRef(null);
  useEffect(() => {
    fetch("/console/operations.md")
      .then((response) => (response.ok ? response.text() : Promise.reject(new Error("This installation has no operations page; it is docs/operations.md of the project."))))
      .then((text) => setState({ html: marked.parse(text) }), (error) => setState({ error }));
  }, []);
  useEffect(() => {
    const heading = rest && page.current?.querySelector(`#${CSS.escape(rest)}`);
    if (heading) {
      heading.scrollIntoView();
      heading.focus({ preventScroll: true });
    }
  }, [rest, state.html]);
  if (state.error) return <Panel title="Operations"><Problem error={state.error} /></Panel>;
  if (!state.html) return <Panel title="Operations"><Empty>Loading …</Empty></Panel>;
  return <article class="panel prose" ref={page} dangerouslySetInnerHTML={{ __html: state.html }} />;
}

import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { get, live, token } from "./api.js";
import { Now } from "./pages/now.jsx";
import { TryIt } from "./pages/try.jsx";
import { Index } from "./pages/index.jsx";
import { Stream } from "./pages/stream.jsx";
import { Jobs } from "./pages/jobs.jsx";
import { Help } from "./pages/help.jsx";

const PAGES = [
  ["now", "Now", Now],
  ["try", "Try it", TryIt],
  ["index", "Index", Index],
  ["stream", "Stream", Stream],
  ["jobs", "Drift and jobs", Jobs],
  ["help", "Operations", Help],
];

// Live points that are kept in the page between two rows of the server's history: a quarter of an hour of them.
const LIVE_POINTS = 450;

function route() {
  const [page, rest] = location.hash.replace(/^#\/?/, "").split("/", 2);
  return { page: PAGES.some(([name]) => name === page) ? page : "now", rest: rest ? decodeURIComponent(rest) : "" };
}

function theme() {
  return localStorage.getItem("hsnn-theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

function App() {
  const [at, setAt] = useState(route);
  const [wanted, setWanted] = useState(false);
  const [signedIn, setSignedIn] = useState(0);
  const [session, setSession] = useState({ may_act: false });
  const [look, setLook] = useState(theme);
  const feed = useFeed(signedIn);
  const content = useRef(null);
  const first = useRef(true);
  useEffect(() => {
    const moved = () => setAt(route());
    const asked = () => setWanted(true);
    addEventListener("hashchange", moved);
    addEventListener("token-wanted", asked);
    return () => {
      removeEventListener("hashchange", moved);
      removeEventListener("token-wanted", asked);
    };
  }, []);
  useEffect(() => {
    document.documentElement.dataset.theme = look;
  }, [look]);
  useEffect(() => {
    get("/v1/console/session").then(setSession, () => {});
  }, [signedIn]);
  const [, title, Page] = PAGES.find(([name]) => name === at.page);
  useEffect(() => {
    document.title = `${title} · hsnn`;
    if (first.current) first.current = false;
    else content.current?.focus();
    scrollTo(0, 0);
  }, [at.page]);
  function signIn(value) {
    token.set(value);
    setWanted(false);
    setSignedIn((count) => count + 1);
  }
  return (
    <div class="shell">
      <a class="skip" href="#content" onClick={(event) => (event.preventDefault(), content.current.focus())}>
        Skip to the page
      </a>
      <header class="top">
        <a class="brand" href="#/now">
          hsnn
        </a>
        <nav aria-label="Pages">
          {PAGES.map(([name, text]) => (
            <a key={name} href={`#/${name}`} aria-current={name === at.page ? "page" : undefined}>
              {text}
            </a>
          ))}
        </nav>
        <Connection feed={feed} />
        <button
          type="button"
          class="plain"
          aria-label={`${look === "dark" ? "Light" : "Dark"} colours`}
          onClick={() => {
            const next = look === "dark" ? "light" : "dark";
            localStorage.setItem("hsnn-theme", next);
            document.documentElement.dataset.theme = next; // before the charts read their colours
            setLook(next);
          }}
        >
          {look === "dark" ? "Light" : "Dark"}
        </button>
      </header>
      <main id="content" tabindex={-1} ref={content}>
        <h1 class="hidden">{title}</h1>
        {wanted ? <SignIn onToken={signIn} known={Boolean(token.get())} /> : <Page key={signedIn} feed={feed} rest={at.rest} session={session} theme={look} />}
      </main>
    </div>
  );
}

// The live figures: the newest document, points since the page was opened, and a tick that grows with each.
function useFeed(signedIn) {
  const [feed, setFeed] = useState({ now: null, problem: null, tick: 0, points: [] });
  useEffect(() => {
    const control = new AbortController();
    live(
      (now) => setFeed((old) => ({ now, problem: null, tick: old.tick + 1, points: [...old.points, now].slice(-LIVE_POINTS) })),
      (problem) => setFeed((old) => ({ ...old, problem })),
      control.signal,
    );
    return () => control.abort();
  }, [signedIn]);
  return feed;
}

function Connection({ feed }) {
  const state = feed.problem ? ["bad", "not connected"] : feed.now ? ["good", "live"] : ["idle", "connecting"];
  return (
    <span class="connection" role="status" title={feed.problem || ""}>
      <i class={`dot ${state[0]}`} /> {state[1]}
    </span>
  );
}

function SignIn({ onToken, known }) {
  const [value, setValue] = useState("");
  return (
    <form
      class="panel signin"
      onSubmit={(event) => {
        event.preventDefault();
        onToken(value.trim());
      }}
    >
      <h2>This server wants a token</h2>
      <p class="note">
        {known ? "The one that was sent is not known here. " : ""}A token with the scope read shows the console, one with the scope write may act, too. It stays in this tab.
      </p>
      <label>
        Token <input type="password" autocomplete="off" value={value} onInput={(event) => setValue(event.currentTarget.value)} />
      </label>
      <button type="submit" class="primary" disabled={!value.trim()}>
        Open the console
      </button>
    </form>
  );
}

document.documentElement.dataset.theme = theme();
render(<App />, document.getElementById("app"));

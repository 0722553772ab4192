import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, post } from "../api.js";
import { ago, day, millis, number, plural } from "../format.js";
import { Choice, Empty, Loaded, Panel, Picture, Problem, Tags, Title, useDocument } from "../parts.jsx";
import { body, Boosts, Filters, How, PLAIN, words } from "../settings.jsx";

// Milliseconds after the last key before a search is sent.
const TYPED = 200;

function useTyped(value) {
  const [typed, setTyped] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setTyped(value), TYPED);
    return () => clearTimeout(timer);
  }, [value]);
  return typed;
}

const LEFT = 0, RIGHT = 1;

export function TryIt({ rest }) {
  const [who, setWho] = useState(rest ? "session" : "user");
  const [user, setUser] = useState("");
  const [session, setSession] = useState(rest ? [rest] : []);
  const [k, setK] = useState("10");
  const [sides, setSides] = useState([PLAIN]); // settings of the left list, and of the right one if there is one
  const [edited, setEdited] = useState(LEFT);
  const [open, setOpen] = useState(null);
  const users = useDocument("/v1/console/users");
  const features = useDocument("/v1/console/features");
  const indexes = useDocument("/v1/console/indexes").data || [];
  const chosen = user || users.data?.[0]?.id || "";
  const two = sides.length > 1;
  const ready = who === "user" ? Boolean(chosen) : session.length > 0;
  const asked = useMemo(
    () => ({ user: who === "user" ? chosen : "console-session", k: Number(k), ...(who === "session" && { history: session }) }),
    [who, chosen, session, k],
  );
  const left = useAnswer(asked, sides[LEFT], ready);
  const right = useAnswer(asked, sides[RIGHT], ready && two);
  const settings = sides[edited];
  const change = (part) => setSides(sides.map((side, index) => (index === edited ? { ...side, ...part } : side)));
  function setCount(count) {
    const left = sides[LEFT];
    // With several indexes, what a person wants to see beside each other are these.
    const [own, other] = indexes.length > 1 && !left.index ? indexes : [left.index, left.index];
    setSides(count === "two" ? [{ ...left, index: own }, { ...left, index: other }] : [left]);
    setEdited(count === "two" ? RIGHT : LEFT);
  }
  return (
    <div class="page columns side">
      <div class="page">
        <Panel title="For whom">
          <Choice label="For whom" options={[["user", "A user"], ["session", "A session"]]} value={who} onChange={setWho} />
          {who === "user" ? <UserSearch chosen={chosen} onChoose={setUser} /> : <Session items={session} onChange={setSession} />}
        </Panel>
        <Panel title="Compare" note={two ? "the same question with other settings, and what moved" : "the same question asked twice, with other settings"}>
          <div class="fields">
            <Choice label="Lists" options={[["one", "One list"], ["two", "Two side by side"]]} value={two ? "two" : "one"} onChange={setCount} />
            {two && (
              <div class="bar">
                <Choice label="Settings below are those of" options={[[LEFT, "Left"], [RIGHT, "Right"]]} value={edited} onChange={setEdited} />
                <button type="button" onClick={() => setSides(sides.map(() => sides[1 - edited]))}>
                  Copy from the {edited === LEFT ? "right" : "left"}
                </button>
              </div>
            )}
          </div>
        </Panel>
        <How settings={settings} onChange={change} k={k} onCount={setK} indexes={indexes} />
        <div class="page later">
          <Filters features={features} chosen={settings.filters} onChange={(filters) => change({ filters })} />
          <Boosts features={features} boosts={settings.boosts} onChange={(boosts) => change({ boosts })} />
          <Panel title="Why not this one?" note="look an item up, and what became of it in this request">
            <ItemSearch label="Item" act="look up" except={[]} onChoose={(item) => setOpen({ id: item.id, side: edited })} />
          </Panel>
        </div>
      </div>
      <div class="page">
        {who === "user" && chosen && <History user={chosen} onOpen={(id) => setOpen({ id, side: edited })} />}
        {!ready ? (
          <Panel title="Recommendations">
            <Empty>{who === "session" ? "Add an item to the session, and what fits it appears here." : "No user is known yet; build a session from items instead."}</Empty>
          </Panel>
        ) : (
          <div class={two ? "columns" : ""}>
            <Answer title={`${two ? "Left" : "Recommendations"}: ${words(sides[LEFT])}`} answer={left} other={two ? right : null} onOpen={(id) => setOpen({ id, side: LEFT })} />
            {two && <Answer title={`Right: ${words(sides[RIGHT])}`} answer={right} other={left} moves onOpen={(id) => setOpen({ id, side: RIGHT })} />}
          </div>
        )}
        {ready && (
          <details class="panel">
            <summary>The request{two && `, ${edited === LEFT ? "left" : "right"}`}, as it is sent to /v1/retrieve</summary>
            <pre tabindex={0}>{JSON.stringify({ ...asked, ...body(settings) }, null, 1)}</pre>
          </details>
        )}
      </div>
      {open && (
        <Item
          id={open.id}
          asked={ready ? { ...asked, ...body(sides[open.side] || settings) } : null}
          onOpen={(id) => setOpen({ ...open, id })}
          onClose={() => setOpen(null)}
          onSession={(id) => (setWho("session"), setSession((old) => [...old.filter((item) => item !== id), id]), setOpen(null))}
        />
      )}
    </div>
  );
}

// Ask for recommendations, then for the cards of the items in them.
function useAnswer(asked, settings, wanted) {
  const [state, setState] = useState({ data: null, error: null });
  useEffect(() => {
    setState((old) => ({ ...old, error: null, data: wanted ? old.data : null }));
    if (!wanted) return undefined;
    const control = new AbortController();
    (async () => {
      try {
        const answer = await post("/v1/retrieve", { ...asked, ...body(settings) }, control.signal);
        const items = await post("/v1/console/items", { ids: answer.items }, control.signal);
        setState({ data: { ...answer, items }, error: null });
      } catch (error) {
        if (error.name !== "AbortError") setState({ data: null, error });
      }
    })();
    return () => control.abort();
  }, [asked, settings, wanted]);
  return state;
}

// A list; beside another one it marks what is only here, and with `moves` how far items moved against the other.
function Answer({ title, answer, other, moves, onOpen }) {
  const places = other?.data ? new Map(other.data.items.map((item, index) => [item.id, index])) : null;
  return (
    <Panel title={title} note={answer.data && work(answer.data, places)}>
      <Loaded of={answer}>
        {(data) =>
          data.items.length === 0 ? (
            <Empty>No item passes the filters and may be recommended to this user.</Empty>
          ) : (
            <ol class="items" aria-label={title}>
              {data.items.map((item, index) => (
                <li key={item.id}>
                  <button type="button" class={`item${places && !places.has(item.id) ? " only" : ""}`} onClick={() => onOpen(item.id)}>
                    <Picture item={item} />
                    <span>
                      <span class="name">
                        <Title item={item} />
                      </span>
                      <Tags features={item.features} />
                    </span>
                    <span class="score">
                      {places && <Move place={index} before={places.get(item.id)} moves={moves} />}
                      <span>{number(data.scores[index], 2)}</span>
                    </span>
                  </button>
                </li>
              ))}
            </ol>
          )
        }
      </Loaded>
    </Panel>
  );
}

function Move({ place, before, moves }) {
  if (before === undefined) return <b class="move">only here</b>;
  if (!moves || before === place) return null;
  const by = Math.abs(before - place);
  return (
    <b class="move">
      <span aria-hidden="true">
        {before > place ? "↑" : "↓"} {by}
      </span>
      <span class="hidden">{`${before > place ? "up" : "down"} by ${by}`}</span>
    </b>
  );
}

function work(data, places) {
  const { scored, corpus, took_ms, certified } = data.stats;
  const cost = scored ? `${number(scored)} of ${number(corpus)} items scored in ${millis(took_ms)}` : `chosen of ${number(corpus)} items in ${millis(took_ms)}`;
  const shared = places && `; ${number(data.items.filter((item) => places.has(item.id)).length)} of ${number(data.items.length)} are in the other list, too`;
  const from = data.index ? `index ${data.index}, version ${data.version}: ` : "";
  return `${from}${cost}${certified ? ", proven to be the best" : ""}${shared || ""}.`;
}

function UserSearch({ chosen, onChoose }) {
  const [text, setText] = useState("");
  const typed = useTyped(text);
  const found = useDocument(`/v1/console/users?q=${encodeURIComponent(typed)}`);
  return (
    <div class="fields">
      <label>
        Search users
        <input type="search" value={text} placeholder="the beginning of an id" onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      <Loaded of={found}>
        {(users) =>
          users.length === 0 ? (
            <p class="empty">
              No user has an id that begins so. <button type="button" class="link" onClick={() => onChoose(typed)}>Ask for “{typed}” all the same</button>
            </p>
          ) : (
            <div class="chips" role="group" aria-label="Users, those who came last first">
              {users.map((user) => (
                <button type="button" key={user.id} aria-pressed={user.id === chosen} title={`${plural(user.items, "item")} remembered`} onClick={() => onChoose(user.id)}>
                  {user.id}
                </button>
              ))}
            </div>
          )
        }
      </Loaded>
    </div>
  );
}

function ItemSearch({ label, onChoose, except, act = "add" }) {
  const [text, setText] = useState("");
  const found = useDocument(`/v1/console/items?q=${encodeURIComponent(useTyped(text))}`);
  return (
    <div class="fields">
      <label>
        {label}
        <input type="search" value={text} placeholder="part of a title, or an id" onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      <Loaded of={found}>
        {(items) => {
          const left = items.filter((item) => !except.includes(item.id)).slice(0, 6);
          return left.length === 0 ? (
            <Empty>No item that can be recommended is called so.</Empty>
          ) : (
            <ul class="items">
              {left.map((item) => (
                <li key={item.id}>
                  <button type="button" class="item" onClick={() => onChoose(item)}>
                    <Picture item={item} />
                    <span class="name">
                      <Title item={item} />
                    </span>
                    <span class="note">{act}</span>
                  </button>
                </li>
              ))}
            </ul>
          );
        }}
      </Loaded>
    </div>
  );
}

function Session({ items, onChange }) {
  const [titles, setTitles] = useState({});
  return (
    <div class="fields">
      {items.length > 0 && (
        <div class="chips" role="group" aria-label="Items of the session, oldest first; press to remove">
          {items.map((item) => (
            <button type="button" key={item} aria-pressed="true" title="Remove" onClick={() => onChange(items.filter((one) => one !== item))}>
              {titles[item] || item} ×
            </button>
          ))}
        </div>
      )}
      <ItemSearch
        label="Add an item that was just looked at"
        except={items}
        onChoose={(item) => {
          setTitles({ ...titles, [item.id]: item.title });
          onChange([...items, item.id]);
        }}
      />
    </div>
  );
}

function History({ user, onOpen }) {
  const history = useDocument(`/v1/console/users/${encodeURIComponent(user)}`);
  return (
    <Panel title={`User ${user}`} note="what the server remembers, newest first">
      <Loaded of={history}>
        {(data) =>
          data.items.length === 0 ? (
            <Empty>{data.known ? "Nothing yet." : "Unknown: the answer is for somebody about whom nothing is known."}</Empty>
          ) : (
            <div class="chips">
              {data.items.map((item) => (
                <button type="button" key={`${item.id} ${item.at}`} title={day(item.at)} onClick={() => onOpen(item.id)}>
                  {item.title || item.id}
                </button>
              ))}
            </div>
          )
        }
      </Loaded>
    </Panel>
  );
}

export function Item({ id, onClose, onSession, asked, onOpen }) {
  const dialog = useRef(null);
  const [state, setState] = useState({ data: null, error: null });
  useEffect(() => {
    if (!dialog.current.open) dialog.current.showModal();
    get(`/v1/items/${encodeURIComponent(id)}`).then((data) => setState({ data, error: null }), (error) => setState({ data: null, error }));
  }, [id]);
  return (
    <dialog ref={dialog} onClose={onClose} aria-label={`Item ${id}`}>
      <Panel
        title={state.data?.features.title || state.data?.features.name || id}
        actions={
          <button type="button" onClick={() => dialog.current.close()}>
            Close
          </button>
        }
      >
        {state.error ? (
          <Problem error={state.error} />
        ) : state.data === null ? (
          <Empty>Loading …</Empty>
        ) : (
          <>
            <dl class="pairs">
              <Pair name="id">
                <code>{state.data.id}</code>
              </Pair>
              <Pair name="can be recommended">{state.data.retrievable ? "yes" : state.data.deleted ? "no, deleted" : "no"}</Pair>
              <Pair name="node">{state.data.node === null ? "none" : <a href={`#/index/${state.data.node}`} onClick={() => dialog.current.close()}>{state.data.node}</a>}</Pair>
              <Pair name="first and last sign">
                {day(state.data.state.first)}, {ago(state.data.state.last, state.data.as_of)} of stream time
              </Pair>
              {Object.entries(state.data.features).map(([name, value]) => (
                <Pair key={name} name={name}>
                  {Array.isArray(value) ? value.join(", ") : String(value)}
                </Pair>
              ))}
            </dl>
            {asked && <Why id={id} asked={asked} />}
            {onOpen && <Similar id={id} index={asked?.index} onOpen={onOpen} />}
            {onSession && (
              <button type="button" class="primary" onClick={() => onSession(id)}>
                Put it into a session
              </button>
            )}
          </>
        )}
      </Panel>
    </dialog>
  );
}

// Post a question about an item once, and again when it is another one.
function useQuestion(path, body) {
  const [state, setState] = useState({ data: null, error: null });
  const text = JSON.stringify(body);
  useEffect(() => {
    const control = new AbortController();
    setState({ data: null, error: null });
    (async () => {
      try {
        const answer = await post(path, JSON.parse(text), control.signal);
        const ids = [...answer.items, ...(answer.reasons || []).flatMap((reason) => Object.keys(reason.history || {}))];
        const found = await post("/v1/console/items", { ids: [...new Set(ids)] }, control.signal);
        setState({ data: { ...answer, cards: Object.fromEntries(found.map((item) => [item.id, item])) }, error: null });
      } catch (error) {
        if (error.name !== "AbortError") setState({ data: null, error });
      }
    })();
    return () => control.abort();
  }, [path, text]);
  return state;
}

const SOURCES = { index: "a node of the index", neighbours: "items that go with the last ones", memory: "what the user did before", popular: "the popular items", latest: "the latest items" };

// Why an item is in the answer to a request, or where it fell out.
function Why({ id, asked }) {
  const answer = useQuestion("/v1/retrieve", { ...asked, explain: true, why_not: [id] });
  return (
    <section aria-label="Why" class="fields">
      <h3>Why, or why not</h3>
      <Loaded of={answer}>
        {(data) => {
          const place = data.items.indexOf(id);
          if (place < 0) return <p>{data.why_not?.[0]?.detail || "The server does not say."}</p>;
          const reason = data.reasons[place];
          const history = Object.entries(reason.history || {}).filter(([, value]) => value > 0);
          return (
            <>
              <p>
                Place {place + 1}, from {SOURCES[reason.source] || reason.source}
                {reason.path?.length > 0 && ` (node ${reason.path.join(" › ")})`}.
                {history.length > 0 && " Because of:"}
              </p>
              {history.length > 0 && (
                <p class="tags">
                  {history.map(([item, value]) => (
                    <span class="tag" key={item} title={`the score is ${number(value, 2)} lower without it`}>
                      {data.cards[item]?.title || item}
                    </span>
                  ))}
                </p>
              )}
              {Object.keys(reason.parts || {}).length > 0 && (
                <p class="note">
                  Score {number(data.scores[place], 2)} ={" "}
                  {Object.entries(reason.parts)
                    .map(([part, value]) => `${part} ${number(value, 2)}`)
                    .join(" + ")}
                </p>
              )}
            </>
          );
        }}
      </Loaded>
    </section>
  );
}

// Similar items that are listed.
const SIMILAR = 6;

function Similar({ id, index, onOpen }) {
  const answer = useQuestion("/v1/similar", { items: [id], k: SIMILAR, ...(index && { index }) });
  return (
    <section aria-label="Similar items" class="fields">
      <h3>Similar items</h3>
      <Loaded of={answer}>
        {(data) =>
          data.items.length === 0 ? (
            <Empty>None that can be recommended.</Empty>
          ) : (
            <div class="chips">
              {data.items.map((item) => (
                <button type="button" key={item} onClick={() => onOpen(item)}>
                  {data.cards[item]?.title || item}
                </button>
              ))}
            </div>
          )
        }
      </Loaded>
    </section>
  );
}

function Pair({ name, children }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

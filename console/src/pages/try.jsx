import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get, post } from "../api.js";
import { ago, day, millis, number, percent, plural } from "../format.js";
import { Choice, Empty, Loaded, Panel, Picture, Problem, Tags, Title, useDocument } from "../parts.jsx";

const MODES = [
  ["beam", "as served"],
  ["exact", "exact search"],
  ["exhaustive", "every item scored"],
  ["popularity", "popularity"],
  ["covisitation", "co-visitation"],
  ["popularity_filter", "popularity, then the model"],
];

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

export function TryIt({ rest }) {
  const [who, setWho] = useState(rest ? "session" : "user");
  const [user, setUser] = useState("");
  const [session, setSession] = useState(rest ? [rest] : []);
  const [mode, setMode] = useState("beam");
  const [other, setOther] = useState("");
  const [k, setK] = useState("10");
  const [filters, setFilters] = useState({});
  const [open, setOpen] = useState(null);
  const users = useDocument("/v1/console/users");
  const chosen = user || users.data?.[0]?.id || "";
  const request = useMemo(() => {
    const features = Object.fromEntries(Object.entries(filters).filter(([, values]) => values.length));
    const asked = { user: who === "user" ? chosen : "console-session", k: Number(k) };
    if (who === "session") asked.history = session;
    if (Object.keys(features).length) asked.filters = { features };
    return asked;
  }, [who, chosen, session, k, filters]);
  const ready = who === "user" ? Boolean(chosen) : session.length > 0;
  const one = useAnswer(request, mode, ready);
  const two = useAnswer(request, other, ready && Boolean(other));
  return (
    <div class="page columns side">
      <div class="page">
        <Panel title="For whom">
          <Choice label="For whom" options={[["user", "A user"], ["session", "A session"]]} value={who} onChange={setWho} />
          {who === "user" ? <UserSearch chosen={chosen} onChoose={setUser} /> : <Session items={session} onChange={setSession} />}
        </Panel>
        <Panel title="How">
          <div class="fields">
            <label>
              Mode
              <select value={mode} onChange={(event) => setMode(event.currentTarget.value)}>
                {MODES.map(([name, text]) => (
                  <option key={name} value={name}>
                    {text}
                  </option>
                ))}
              </select>
            </label>
            <label>
              Beside it
              <select value={other} onChange={(event) => setOther(event.currentTarget.value)}>
                <option value="">nothing</option>
                {MODES.filter(([name]) => name !== mode).map(([name, text]) => (
                  <option key={name} value={name}>
                    {text}
                  </option>
                ))}
              </select>
            </label>
            <Choice label="How many" options={["10", "20", "50"].map((count) => [count, count])} value={k} onChange={setK} />
          </div>
        </Panel>
        <Filters chosen={filters} onChange={setFilters} />
        <Panel title="Why not this one?" note="look an item up, and what became of it in this request">
          <ItemSearch label="Item" act="look up" except={[]} onChoose={(item) => setOpen(item.id)} />
        </Panel>
      </div>
      <div class="page">
        {who === "user" && chosen && <History user={chosen} onOpen={setOpen} />}
        {!ready ? (
          <Panel title="Recommendations">
            <Empty>{who === "session" ? "Add an item to the session, and what fits it appears here." : "No user is known yet; build a session from items instead."}</Empty>
          </Panel>
        ) : (
          <div class={other ? "columns" : ""}>
            <Answer title={title(mode)} answer={one} beside={other ? two : null} onOpen={setOpen} />
            {other && <Answer title={title(other)} answer={two} beside={one} onOpen={setOpen} />}
          </div>
        )}
      </div>
      {open && <Item id={open} asked={ready ? { ...request, mode } : null} onOpen={setOpen} onClose={() => setOpen(null)} onSession={(id) => (setWho("session"), setSession((old) => [...old.filter((item) => item !== id), id]), setOpen(null))} />}
    </div>
  );
}

const title = (mode) => `Recommendations, ${MODES.find(([name]) => name === mode)[1]}`;

// Ask for recommendations, then for the cards of the items in them.
function useAnswer(request, mode, wanted) {
  const [state, setState] = useState({ data: null, error: null });
  useEffect(() => {
    setState((old) => ({ ...old, error: null, data: wanted ? old.data : null }));
    if (!wanted || !mode) return undefined;
    const control = new AbortController();
    (async () => {
      try {
        const answer = await post("/v1/retrieve", { ...request, mode }, control.signal);
        const items = await post("/v1/console/items", { ids: answer.items }, control.signal);
        setState({ data: { ...answer, items }, error: null });
      } catch (error) {
        if (error.name !== "AbortError") setState({ data: null, error });
      }
    })();
    return () => control.abort();
  }, [request, mode, wanted]);
  return state;
}

function Answer({ title: heading, answer, beside, onOpen }) {
  const others = beside?.data ? new Set(beside.data.items.map((item) => item.id)) : null;
  return (
    <Panel title={heading} note={answer.data && work(answer.data, others)}>
      <Loaded of={answer}>
        {(data) =>
          data.items.length === 0 ? (
            <Empty>No item passes the filters and may be recommended to this user.</Empty>
          ) : (
            <ol class="items" aria-label={heading}>
              {data.items.map((item, index) => (
                <li key={item.id}>
                  <button type="button" class={`item${others && !others.has(item.id) ? " only" : ""}`} onClick={() => onOpen(item.id)}>
                    <Picture item={item} />
                    <span>
                      <span class="name">
                        <Title item={item} />
                      </span>
                      <Tags features={item.features} />
                    </span>
                    <span class="score">{number(data.scores[index], 2)}</span>
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

function work(data, others) {
  const scored = `${number(data.stats.scored)} of ${number(data.stats.corpus)} items scored in ${millis(data.stats.took_ms)}`;
  const proved = data.stats.certified ? ", proven to be the best" : "";
  const shared = others ? `; ${percent(data.items.filter((item) => others.has(item.id)).length / Math.max(data.items.length, 1))} are in the other list, too` : "";
  return `${scored}${proved}${shared}.`;
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

function Filters({ chosen, onChange }) {
  const features = useDocument("/v1/console/features");
  const [name, setName] = useState("");
  return (
    <Panel title="Filters" note="an item must have one of the chosen values of every feature">
      <Loaded of={features}>
        {(found) => {
          const names = Object.keys(found);
          if (!names.length) return <Empty>The items have no features to filter by.</Empty>;
          const shown = name || names[0];
          const values = chosen[shown] || [];
          const count = Object.values(chosen).reduce((sum, list) => sum + list.length, 0);
          return (
            <div class="fields">
              <label>
                Feature
                <select value={shown} onChange={(event) => setName(event.currentTarget.value)}>
                  {names.map((option) => (
                    <option key={option} value={option}>
                      {option}
                      {chosen[option]?.length ? ` (${chosen[option].length})` : ""}
                    </option>
                  ))}
                </select>
              </label>
              <div class="chips" role="group" aria-label={`Values of ${shown}`}>
                {found[shown].map((value) => (
                  <button
                    type="button"
                    key={String(value)}
                    aria-pressed={values.includes(value)}
                    onClick={() => onChange({ ...chosen, [shown]: values.includes(value) ? values.filter((one) => one !== value) : [...values, value] })}
                  >
                    {String(value)}
                  </button>
                ))}
              </div>
              {count > 0 && (
                <button type="button" onClick={() => onChange({})}>
                  Remove {plural(count, "filter")}
                </button>
              )}
            </div>
          );
        }}
      </Loaded>
    </Panel>
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
            {onOpen && <Similar id={id} onOpen={onOpen} />}
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

function Similar({ id, onOpen }) {
  const answer = useQuestion("/v1/similar", { items: [id], k: SIMILAR });
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

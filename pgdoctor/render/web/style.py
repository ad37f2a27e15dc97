"""The page's only style. The server allows it by its hash: no `style` attribute takes effect."""

#: Made for a phone first; colours by what the reader's system prefers, each at least 4.5 : 1 against its ground.
STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f6f6f3; --card: #ffffff; --ink: #1b1d20; --dim: #5b626c; --line: #dfdfd9; --chip: #eeeeea;
  --bad: #a8231b; --bad-ground: #fcebe9; --warn: #7c4a00; --warn-ground: #fdf2dd;
  --good: #1c6637; --good-ground: #e6f3ea;
  --link: #1b5bb5; --busy: #2f6fca; --idle: #c3c8d0; --held: #d98a00; --aborted: #c2453d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #131518; --card: #1b1e23; --ink: #e7e7e3; --dim: #9ea6b2; --line: #30353d; --chip: #272b32;
    --bad: #ff9a90; --bad-ground: #391c1b; --warn: #ffc772; --warn-ground: #33270f;
    --good: #84d8a1; --good-ground: #152d1e;
    --link: #8db6ff; --busy: #5b93e6; --idle: #4a515c; --held: #e0a030; --aborted: #e0675f;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 66rem; padding: .75rem .75rem 0; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere;
}
h1, h2, h3, p, ul, dl, dd { margin: 0; padding: 0; }
ul { list-style: none; }
a { color: var(--link); }
b { font-weight: 600; }
.num { font-variant-numeric: tabular-nums; }
.dim { color: var(--dim); }
bdi { unicode-bidi: isolate; }
code, .pid { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .9em; }
code { unicode-bidi: isolate; direction: ltr; background: var(--chip); border-radius: .25rem; padding: .1em .35em;
  -webkit-box-decoration-break: clone; box-decoration-break: clone; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: .25rem; }

.verdict { border-radius: .75rem; padding: 1rem 1.1rem; border-left: .5rem solid; overflow: clip; }
.verdict h1 { font-size: clamp(1.35rem, 1rem + 2.2vw, 2rem); line-height: 1.2; font-weight: 650;
  letter-spacing: -.01em;
  text-wrap: balance; }
.verdict .do { font-size: clamp(1.05rem, .95rem + .7vw, 1.3rem); line-height: 1.35; margin-top: .6rem;
  color: var(--ink); }
.verdict .who { margin-top: .5rem; color: var(--ink); }
.verdict .who + .who { margin-top: .1rem; }
.verdict .why { margin-top: .35rem; color: var(--ink); }
.do b { font-weight: 650; }
.bad { color: var(--bad); background: var(--bad-ground); border-color: var(--bad); }
.warn { color: var(--warn); background: var(--warn-ground); border-color: var(--warn); }
.good { color: var(--good); background: var(--good-ground); border-color: var(--good); }
.note { border-radius: .5rem; border-left: .3rem solid; padding: .55rem .8rem; margin-top: .6rem; overflow: clip; }
.calm { color: var(--ink); background: var(--card); border-color: var(--idle); }
.servers .note { padding: .8rem 1rem; }
#stale { margin: 0 0 .6rem; }
.old main { opacity: .5; filter: grayscale(1); }

.facts { display: flex; flex-wrap: wrap; gap: .35rem 1.5rem; padding: .7rem .2rem 0; font-size: .9rem;
  color: var(--dim); }
section, .panels > * { margin-top: 1.5rem; }
h2 { font-size: .8rem; line-height: 1.4; text-transform: uppercase; letter-spacing: .08em; color: var(--dim);
  font-weight: 600;
  margin-bottom: .5rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: .9rem 1rem;
  overflow: clip; }
.card + .card { margin-top: .75rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); gap: 0 1rem; }

h3 { font-size: 1.1rem; line-height: 1.35; font-weight: 600; }
h3 .pid { font-size: 1em; }
.reach { margin-top: .1rem; }
.reach b { color: var(--bad); }
.evidence { margin-top: .5rem; }
.note .evidence { font-size: .9rem; margin-top: .25rem; }
.evidence li { padding-left: 1rem; text-indent: -1rem; }
.evidence li::before { content: "·"; display: inline-block; width: 1rem; text-indent: 0; color: var(--dim);
  font-weight: 700; }
.runs { margin-top: .5rem; }
.advice { margin-top: .6rem; }

.tree { margin-top: .7rem; }
.tree ul { margin-left: .45rem; padding-left: .7rem; border-left: 2px solid var(--line); }
.tree li { margin-top: .25rem; }
.tree summary { cursor: pointer; padding: .15rem 0; }
.tree summary::marker { color: var(--dim); }
.tree details > div { padding: .1rem 0 .4rem 1.1rem; font-size: .95rem; }
.wait { font-variant-numeric: tabular-nums; font-weight: 600; }
.chip { display: inline-block; background: var(--chip); border-radius: 1rem; padding: 0 .55rem; font-size: .85rem; }
.chip.bad { background: var(--bad-ground); }
.rest { color: var(--dim); padding: .15rem 0; }

.cuts li > * { display: block; }
.bar { display: block; width: 100%; height: .7rem; border-radius: .35rem; margin-bottom: .6rem;
  background: var(--chip); }
.active { fill: var(--busy); background: var(--busy); } .idle { fill: var(--idle); background: var(--idle); }
.held { fill: var(--held); background: var(--held); } .aborted { fill: var(--aborted); background: var(--aborted); }
.other { fill: var(--dim); background: var(--dim); }
.key { display: inline-block; width: .65rem; height: .65rem; border-radius: .2rem; margin-right: .4rem; }
.holders { margin-top: .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
.states li { display: inline-block; margin-right: 1.1rem; }
.list li + li { margin-top: .45rem; padding-top: .45rem; border-top: 1px solid var(--line); }

footer { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: center; gap: .2rem 1rem;
  position: sticky; bottom: 0; margin: 1.5rem -.75rem 0; padding: .45rem .95rem; font-size: .85rem; color: var(--dim);
  background: var(--ground); border-top: 1px solid var(--line); }
footer a { color: inherit; }
footer p { min-height: 2.2rem; display: flex; align-items: center; gap: .35rem; }
#live { font-variant-numeric: tabular-nums; display: flex; align-items: center; gap: .7rem; }
#live.running::before { content: ""; width: .6rem; height: .6rem; border-radius: 50%; background: #2e9e4f; }
.old #live.running::before { background: var(--bad); }
#live.paused::before { content: ""; width: .6rem; height: .6rem; border-radius: 50%; background: var(--held); }
button { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line);
  border-radius: .4rem;
  padding: .3rem .8rem; min-height: 2.2rem; cursor: pointer; }
@media (min-width: 48rem) {
  .cuts li { display: grid; grid-template-columns: minmax(10rem, 1fr) 3fr 3fr; gap: 1rem; }
  body { padding: 1.25rem 1.5rem 0; }
  .card { padding: 1.1rem 1.3rem; }
  .verdict { padding: 1.3rem 1.5rem; }
  .tree ul { padding-left: 1rem; }
  footer { margin: 2rem -1.5rem 0; padding: .5rem 1.5rem; }
}
@media print { footer { position: static; } }
"""

"""The one style sheet of the pages, light and dark."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #ffffff; --text: #16202b; --soft: #5d6b7a; --line: #dfe4ea; --faint: #eef1f4;
  --accent: #0b6bcb; --good: #12734a; --good-soft: #dff3e8; --warn: #8a5300; --warn-soft: #fdeecd;
  --bad: #b3261e; --bad-soft: #fbe3e1; --cool: #33559b; --cool-soft: #e3ebfb; --second: #b4580a; --third: #7a5bc0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #11161c; --card: #1a2129; --text: #e6ebf0; --soft: #97a5b4; --line: #2d3742; --faint: #232c36;
    --accent: #6db3ff; --good: #7fd8ab; --good-soft: #16382a; --warn: #f2c46d; --warn-soft: #3d2f10;
    --bad: #ff9d94; --bad-soft: #452320; --cool: #a9c3ff; --cool-soft: #22304d; --second: #ffae66; --third: #bba4f5;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 26px; line-height: 1.2; letter-spacing: -.01em; margin: 0 0 6px; }
h2 { font-size: 17px; margin: 36px 0 12px; }
h3 { font-size: 16px; margin: 0 0 4px; }
p { margin: 0 0 8px; max-width: 75ch; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
a:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
code { font: 13px/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code.pick { user-select: all; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.small { font-size: 13px; }
.whole { white-space: nowrap; }
.crumb { font-size: 13px; margin-bottom: 14px; }
.card, .notice { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin-top: 20px; }
.cards.wide { grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); }
.card > .name, th { font-size: 12px; font-weight: 600; letter-spacing: .04em; text-transform: uppercase; color: var(--soft); }
.card .value { font-size: 24px; font-weight: 650; line-height: 1.3; overflow-wrap: anywhere; }
.card .value.text { font-size: 18px; line-height: 1.7; }
.notice { margin-top: 12px; border-left: 4px solid var(--accent); }
.notice.bad { border-left-color: var(--bad); overflow-wrap: anywhere; }
.why { margin-top: 12px; }
dl.facts { display: grid; grid-template-columns: auto 1fr; gap: 2px 14px; margin: 12px 0 0; }
dl.facts dt { color: var(--soft); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
ol.stages { list-style: none; display: flex; flex-wrap: wrap; gap: 8px 26px; margin: 0; padding: 0; }
ol.stages li { position: relative; flex: 1 1 140px; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; padding: 10px 14px; }
ol.stages li + li::before { content: "→"; position: absolute; left: -21px; top: 50%; transform: translateY(-50%);
  color: var(--soft); }
ol.stages b { display: block; font-weight: 600; }
ol.stages .key { font-size: 19px; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 14px; text-align: right; white-space: nowrap; border-top: 1px solid var(--faint); }
thead th { border-top: 0; background: var(--faint); }
th:first-child, td:first-child, th.left, td.left { text-align: left; }
tr.changed td { border-bottom: 2px solid var(--accent); }
figure { margin: 0; }
figcaption { margin-top: 8px; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
svg text.name { fill: var(--text); font-weight: 600; font-size: 12px; }
svg text.mark { fill: var(--accent); font-weight: 600; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .change { stroke: var(--accent); stroke-width: 1; stroke-dasharray: 3 3; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
svg .auc { stroke: var(--accent); } svg .loss { stroke: var(--second); }
svg .dot { stroke: var(--card); stroke-width: 1.5; }
svg .dot.auc { fill: var(--accent); } svg .dot.loss { fill: var(--second); }
svg .bar { fill: var(--third); }
ul.decisions { list-style: none; margin: 0; padding: 0; }
ul.decisions li { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 16px; margin-bottom: 8px; }
ul.decisions p { margin: 6px 0 0; overflow-wrap: anywhere; }
.line1 { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 12px; }
.badge { display: inline-block; padding: 1px 10px; border-radius: 99px; font-size: 13px; font-weight: 600;
  background: var(--faint); color: var(--soft); white-space: nowrap; }
.badge.good { background: var(--good-soft); color: var(--good); }
.badge.warn { background: var(--warn-soft); color: var(--warn); }
.badge.bad { background: var(--bad-soft); color: var(--bad); }
.badge.cool { background: var(--cool-soft); color: var(--cool); }
details { margin-top: 6px; }
summary { cursor: pointer; color: var(--soft); font-size: 13px; }
pre { overflow: auto; max-height: 320px; margin: 8px 0 0; padding: 12px; background: var(--faint); border-radius: 6px;
  font: 12px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
dl.facts.card { margin-top: 12px; gap: 6px 18px; }
ul.plain { margin: 0; padding-left: 34px; }
ul.plain li + li { margin-top: 6px; }
table.wrap th { white-space: normal; vertical-align: bottom; }
table.wrap td { vertical-align: top; }
table.wrap td.left { white-space: normal; overflow-wrap: break-word; }
table.wrap td.left:last-child { min-width: 24em; }
.part > * + .scroll, .part > * + figure { margin-top: 12px; }
.beside { display: grid; grid-template-columns: minmax(280px, 360px) minmax(340px, 1fr); gap: 12px; align-items: start; }
.beside th, .beside td { padding-top: 5px; padding-bottom: 5px; }
svg .spread { stroke: var(--text); stroke-width: 1.5; }
@media (max-width: 900px) {
  .beside { grid-template-columns: minmax(0, 1fr); } .beside svg { max-width: 360px; }
  table.wrap { font-size: 13px; } table.wrap th, table.wrap td { padding: 6px 8px; }
  table.wrap td.left:last-child { min-width: 16em; }
}
@media (max-width: 560px) { dl.facts.card { grid-template-columns: 1fr; } }
@media print {
  :root { color-scheme: light; --ground: #fff; --card: #fff; --text: #000; --soft: #444; --line: #bbb; --faint: #f2f2f2;
    --accent: #0b4f96; --good: #12734a; --good-soft: #fff; --warn: #8a5300; --warn-soft: #fff; --bad: #b3261e;
    --bad-soft: #fff; --cool: #33559b; --cool-soft: #fff; --second: #b4580a; --third: #7a5bc0; }
  body { font-size: 11px; } main { max-width: none; padding: 0; }
  h2 { font-size: 14px; margin: 18px 0 6px; break-after: avoid; }
  figure, tr, dl, .card { break-inside: avoid; } .scroll { overflow: visible; }
  th, td, table.wrap th, table.wrap td { padding: 3px 8px; white-space: normal; }
  th { font-size: 9px; } .small { font-size: 10px; }
  table.wrap { font-size: 11px; } .beside { grid-template-columns: 1fr 1.4fr; }
}
"""

"""The style sheet of the page. Colours after Okabe and Ito (2008), safe for the common kinds of colour blindness."""

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59616b;--rule:#dfe2e6;--page:#f6f7f8;--card:#fff;
--shade:#dbe6f2;--below:#a9b0b8;--warn:#7a4100;--warn-card:#fff4e0;--accent:#0072b2;
--c0:#0072b2;--c1:#d55e00;--c2:#00875f;--c3:#b9558f;--c4:#a97800;--c5:#3a9bd0;--c6:#555c64;--c7:#8a5a44}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a4acb6;--rule:#343a42;--page:#121417;
--card:#1b1e23;--shade:#2f4257;--below:#5e6772;--warn:#ffd08a;--warn-card:#33270f;--accent:#6bb6ec;
--c0:#56a9e8;--c1:#ff8a47;--c2:#2fc498;--c3:#e795c4;--c4:#e6b43c;--c5:#9ad7ff;--c6:#c3c9d0;--c7:#d0a28e}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:1200px;padding:2rem 1.5rem 3rem;background:var(--page);color:var(--ink);
font:16px/1.55 -apple-system,BlinkMacSystemFont,"Segoe UI",Roboto,"Noto Sans","Helvetica Neue",Arial,sans-serif;
overflow-wrap:anywhere}
header p:first-child{margin:0;color:var(--soft);font-size:.85rem;letter-spacing:.04em}
h1{margin:.1rem 0 .6rem;font-size:clamp(1.6rem,4vw,2.3rem);line-height:1.15;letter-spacing:-.02em;text-wrap:balance}
h2{margin:2.6rem 0 .8rem;font-size:1.35rem;letter-spacing:-.01em}
h3,h4,h5{margin:0;font-size:1rem;line-height:1.35}h5{font-size:.85rem}
a{color:inherit;text-decoration-color:var(--accent);text-underline-offset:.2em}
.finding{max-width:62rem;margin:0;font-size:1.1rem}
.conditions{color:var(--soft);font-size:.85rem;margin:.3rem 0}
.caption,figcaption,.panel-row p{color:var(--soft);font-size:.85rem;line-height:1.45;max-width:80ch}
.caption{max-width:none}
.warning{background:var(--warn-card);color:var(--warn);border-left:4px solid;border-radius:4px;padding:.6rem .9rem;
font-size:.9rem}
ul.warning{padding-left:2rem}
table{width:100%;border-collapse:collapse;background:var(--card);border:1px solid var(--rule);border-radius:8px;
font-variant-numeric:tabular-nums;margin:.6rem 0}
th,td{padding:.5rem .7rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--rule);font-weight:400}
tbody tr:last-child>*{border-bottom:0}
thead th{color:var(--soft);font-size:.82rem;vertical-align:bottom}
.groups>*{padding-bottom:.1rem;border-bottom:0;font-size:.75rem;text-align:right}
th:first-child{text-align:left}
tbody th{font-weight:600;min-width:9rem}
tbody th .conditions{display:block;font-weight:400}
td small{display:block;color:var(--soft);font-size:.75rem;white-space:nowrap}
td.protocol>span,td.worst>span,td.gap>span{font-weight:700}
td.worst,td.gap{background:color-mix(in srgb,var(--shade) 55%,transparent)}
td.wide{text-align:left;color:var(--soft)}
.flagged>span,.raised td:nth-child(2)>span{font-weight:700;color:var(--warn)}
.checks th,.checks td{text-align:left}.checks td:nth-child(2)>span{white-space:nowrap}
.checks .quiet td{color:var(--soft)}
.checks tbody th,.waterfall tbody th{font-size:.9rem}.checks td{font-size:.88rem}
.waterfall th,.waterfall td,.checks th,.checks td{padding:.32rem .6rem}
.waterfall th:nth-child(2),.bar-cell{width:38%;text-align:left;vertical-align:middle}
.waterfall thead th:nth-child(2){padding-left:0}
.bar-cell{padding-inline:0!important;background:repeating-linear-gradient(90deg,transparent 0 calc(25% - 1px),
var(--rule) calc(25% - 1px) 25%);border-inline:1px solid var(--soft)}
.bar-cell svg{display:block;width:100%;height:18px}
.bar-cell.none{color:var(--soft);font-size:.78rem;padding-left:.6rem!important}
.waterfall tbody th .conditions{margin:0;font-size:.75rem}.waterfall .end>*{font-weight:700}
rect.new{fill:var(--c)}rect.left{fill:var(--below);opacity:.45}
.star{text-decoration:none;color:var(--accent);font-weight:700;position:absolute;margin-left:.1em}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:1rem;margin:1.2rem 0}
details>summary{font-size:.9rem}
figure,.card{margin:0;padding:1rem 1.1rem;background:var(--card);border:1px solid var(--rule);border-radius:8px;
display:flex;flex-direction:column;gap:.5rem;min-width:0}
figure.wide{grid-column:1/-1}
figcaption{margin-top:auto}figure>.chart{margin:auto}
.chart{display:block;width:100%;height:auto;
font-size:12px}
.chart text{fill:var(--soft);font-variant-numeric:tabular-nums}
.chart .name{fill:var(--ink);font-weight:600;font-size:13px}.chart .value{fill:var(--ink)}
.chart .note{font-size:11.5px}
.grid{stroke:var(--rule);fill:none}.axis{stroke:var(--soft);fill:none}
.guide{stroke:var(--soft);stroke-dasharray:1.5 3;fill:none}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}
.c6{--c:var(--c6)}.c7{--c:var(--c7)}.ink{--c:var(--soft)}
.line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}
.mark{fill:var(--c);stroke:var(--c);stroke-width:1.3}
.dashed .line{stroke-dasharray:5 3.5}.dashed .mark{fill:var(--card)}
.band{fill:var(--c);opacity:.16}
rect.clean{fill:none;stroke:var(--c);stroke-width:1.3}
rect.protocol{fill:var(--c);fill-opacity:.38;stroke:var(--c);stroke-width:1.3}
rect.worst{fill:var(--c);stroke:var(--c);stroke-width:1.3}
.ghost{fill:none;stroke:var(--c);stroke-width:1.3;stroke-dasharray:3 2.5}
.whisker{stroke:var(--ink);fill:none;stroke-width:1.1}
.panel-row{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:1rem 1.6rem}
.panel-row p{margin:.3rem 0 0}
.legend{display:flex;flex-wrap:wrap;gap:.15rem .9rem;margin:0;padding:0;list-style:none;font-size:.82rem}
.legend li{display:inline-flex;align-items:center}
.swatch{width:26px;height:12px;margin-right:.4rem;flex:none;vertical-align:baseline}
.sites{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,230px),1fr));gap:1rem 1.4rem}
.site p{margin:.1rem 0 0;color:var(--soft);font-size:.78rem;line-height:1.35}
.window{fill:var(--shade)}.bar{shape-rendering:crispEdges}.below{fill:var(--below)}.fires{fill:var(--accent)}
.threshold{stroke:var(--ink);fill:none}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));gap:1rem 1.4rem}
.panels{display:flex;gap:4px}
.panels img{width:calc((100% - 8px)/3);image-rendering:pixelated;border-radius:3px;display:block}
.sample p{margin:.25rem 0 0;font-size:.85rem}
.kept{color:var(--c2)}.lost{color:var(--warn)}
details.run{background:var(--card);border:1px solid var(--rule);border-radius:8px;margin:.6rem 0;padding:0 1.1rem}
details.run>div{padding-bottom:1rem}
summary{cursor:pointer;padding:.7rem 0}
details.run>summary{display:flex;flex-wrap:wrap;align-items:center;gap:.2rem .4rem}
details.run>summary::before{content:"▸";color:var(--soft);width:1em}
details.run[open]>summary::before{content:"▾"}
details.run>summary::-webkit-details-marker{display:none}
summary .conditions{margin:0 0 0 auto;font-variant-numeric:tabular-nums}
summary:focus-visible,a:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}
.run figure,.run .card{background:none}.card{gap:0}.card h4{margin:.6rem 0 0}.card h4:first-child{margin:0}
.card p{margin:.3rem 0}
pre{font:12.5px/1.5 ui-monospace,"SF Mono",Consolas,"Liberation Mono",monospace;background:var(--page);
border:1px solid var(--rule);border-radius:6px;padding:.7rem .9rem;white-space:pre-wrap;margin:.5rem 0}
code{font:.9em ui-monospace,Consolas,"Liberation Mono",monospace}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.35rem 1.2rem;margin:0;font-size:.92rem}
dt{font-weight:600}dd{margin:0;color:var(--soft);max-width:75ch}
footer{margin-top:2.5rem;color:var(--soft);font-size:.85rem}
@media screen and (max-width:720px){body{padding:1.2rem .8rem 2rem}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody,tr,tbody th,td{display:block}
tbody tr{padding:.6rem .8rem;border-bottom:1px solid var(--rule)}tbody tr:last-child{border-bottom:0}
tbody th,td{border:0;padding:.12rem 0}
td{display:grid;grid-template-columns:1fr auto 6.2rem;column-gap:.6rem;align-items:baseline}
td::before{content:attr(data-label);text-align:left;color:var(--soft)}
td.wide,.bar-cell,.checks td{display:block}td.wide::before,.bar-cell::before{content:none}
.bar-cell{width:100%}.checks td::before{content:attr(data-label) ": "}
td.worst,td.gap{margin:0 -.8rem;padding-inline:.8rem}
summary .conditions{margin-left:1.4rem;width:100%}dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}
figure,.card{padding:.8rem}.run figure,.run .card{border:0;padding:.3rem 0}details.run{padding:0 .7rem}}
@page{margin:14mm}
@media print{:root{--page:#fff;--shade:#e8edf3}body{max-width:none;padding:0;font-size:9.5pt}
figure,.card,tr,.site,.sample{break-inside:avoid}h2,h4{break-after:avoid}h2{margin-top:1.4rem}
.figures,.sites,.pictures,.panel-row,figure,.card{display:block}
.figures>*,.site,.sample,.panel-row>*{display:inline-block;width:48%;margin:0 1% .6rem 0;vertical-align:top}
.figures>.wide,.figures>:only-child{width:98%}.site{width:18%}.sample,.panel-row>*{width:31%}
table{font-size:8pt}th,td{padding:.25rem .35rem}tbody th{min-width:5rem}th,td,td small{overflow-wrap:normal}
details:not([open])>:not(summary){display:none}details:not(.run):not([open]){display:none}
details.run{border:0;padding:0}summary{padding:.2rem 0}.on-paper{display:block!important}
details.run>summary::before{content:none}.bar,.window,rect,path,.warning,td{print-color-adjust:exact}}
.on-paper{display:none}
"""

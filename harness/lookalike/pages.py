"""The look-alike's pages. Parts come late and move, as a real site's do."""
from __future__ import annotations

STYLE = """
body { font: 16px sans-serif; margin: 0; background: #f4f4f8; color: #222 }
header { background: #fff; border-bottom: 1px solid #ddd; padding: 16px 32px; font-weight: bold }
main { max-width: 420px; margin: 48px auto; background: #fff; padding: 32px; border-radius: 12px;
       box-shadow: 0 1px 6px #0002 }
label { display: block; margin: 12px 0 4px } input:not([type=checkbox]) { width: 100%; padding: 10px; box-sizing: border-box }
button { margin-top: 16px; padding: 10px 16px; border: 0; border-radius: 8px; background: #6467f2; color: #fff }
code { word-break: break-all; background: #eef; padding: 8px; display: block }
[role=dialog] { border: 1px solid #ccd; border-radius: 12px; padding: 24px; margin-top: 24px }
[hidden] { display: none !important }
"""


def page(title: str, body: str) -> str:
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title><style>{STYLE}</style></head>"
        f"<body><header>Lookalike Router</header><main><h1>{title}</h1>{body}</main></body></html>"
    )


# The form is built by a script after the page is there; a field that keeps its
# value by itself (as a framework's does) throws away what did not come by events.
SIGN_UP = page(
    "Create your account",
    """<div id=root>Loading…</div><script>
setTimeout(() => {
  root.innerHTML = `<form method=post>
    <label>Email address</label><input name=emailAddress type=email required>
    <label>Password</label><input name=password type=password required minlength=12>
    <label><input name=legalAccepted type=checkbox required> I agree to the terms</label>
    <button class=cl-formButtonPrimary disabled>Continue</button></form>`;
  const form = root.querySelector("form"), state = {};
  form.addEventListener("input", (event) => { state[event.target.name] = event.target.value; });
  form.addEventListener("input", () => { form.querySelector("button").disabled = !(state.emailAddress && state.password); });
  form.addEventListener("submit", (event) => {
    if (form.emailAddress.value !== state.emailAddress || form.password.value !== state.password) event.preventDefault();
  });
}, 400);
</script>""",
)

ASK_CODE = page(
    "Verify your email",
    """<p>Enter the code that was sent to your address.</p><form method=post>
<input name=code autocomplete=one-time-code inputmode=numeric maxlength=6></form><script>
const field = document.querySelector("input");
field.addEventListener("input", () => { if (/^\\d{6}$/.test(field.value)) setTimeout(() => field.form.submit(), 200); });
</script>""",
)

_KEYS_BODY = """<a class=cl-userButtonTrigger href="/settings/keys">Settings</a>
<ul><!--keys--></ul><button id=open>Create API Key</button>
<div role=dialog hidden><form method=post><label>Name</label><input name=name required>
<button>Create</button></form></div><script>
document.querySelector("#open").onclick = () => setTimeout(() => {
  document.querySelector("[role=dialog]").hidden = false;
  document.querySelector("#open").hidden = true;
}, 200);
</script>"""

KEYS = page("API keys", _KEYS_BODY)

NEW_KEY = page(
    "API keys",
    """<a class=cl-userButtonTrigger href="/settings/keys">Settings</a><div role=dialog>
<p>Your new key. It is shown once:</p><code><!--key--></code></div>""",
)

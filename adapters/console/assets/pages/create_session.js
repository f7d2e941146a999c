// create_session is the form for a new session, and shows its API key once.
import { html, useState } from '../lib.js';
import { post } from '../api.js';
import { useAction } from '../load.js';
import { navigate } from '../router.js';
import { Button } from '../ui/button.js';
import { Dialog } from '../ui/dialog.js';
import { Field } from '../ui/field.js';
import { FormProblem, Note, fieldProblem } from '../ui/note.js';
import { Secret } from '../ui/copy.js';

export function CreateSession({ onClose }) {
  const [form, setForm] = useState({ name: '', sessionId: '', description: '' });
  const [made, setMade] = useState(null);
  const act = useAction(async () => {
    const body = { name: form.name };
    if (form.sessionId) body.sessionId = form.sessionId;
    if (form.description) body.description = form.description;
    setMade(await post('/sessions', body));
  });
  const bind = (name) => ({ name, value: form[name], onInput: (v) => setForm((f) => ({ ...f, [name]: v })), error: fieldProblem(act.error, name) });
  if (made) {
    const open = () => {
      onClose();
      navigate('/sessions/' + made.id);
    };
    return html`<${Dialog} title=${made.name + ' is ready to link'} onClose=${onClose}><div class="stack">
      <p>This is its API key. Your programs send with it. <strong>It is shown this once</strong>; keep it where you keep passwords.</p>
      <${Secret} text=${made.apiKey} name="api-key" />
      <${Note}><p>Lost it later? Make a new one under Keys.</p><//>
      <footer><${Button} onClick=${onClose}>Later<//><${Button} variant="primary" icon="qr-code" onClick=${open}>Link the phone<//></footer>
    </div><//>`;
  }
  return html`<${Dialog} title="New session" onClose=${onClose}>
    <form class="stack" onSubmit=${(e) => { e.preventDefault(); act.run(); }} novalidate>
      <${Field} label="Name" hint="What you call it, such as Support line." autocapitalize="sentences" required autofocus maxlength="100" ...${bind('name')} />
      <${Field} label="Id" isOptional hint="For programs: letters, digits and hyphens. Without one we make it from the name." maxlength="100" ...${bind('sessionId')} />
      <${Field} label="Description" isOptional autocapitalize="sentences" maxlength="255" ...${bind('description')} />
      <${FormProblem} error=${act.error} fields=${['name', 'sessionId', 'description']} />
      <footer><${Button} onClick=${onClose}>Cancel<//><${Button} type="submit" variant="primary" icon="plus" isBusy=${act.isBusy}>Create<//></footer>
    </form><//>`;
}

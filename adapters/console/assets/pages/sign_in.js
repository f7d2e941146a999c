// sign_in has the pages for people who are not signed in.
import { html, useState, useEffect } from '../lib.js';
import { signIn, register, publicPost } from '../api.js';
import { useAction } from '../load.js';
import { place, navigate } from '../router.js';
import { Button } from '../ui/button.js';
import { Field, Password } from '../ui/field.js';
import { FormProblem, Note, fieldProblem } from '../ui/note.js';
import { Logo } from '../ui/logo.js';

const passwordHint = '8 to 72 characters with a letter and a digit; not a common one, nor your name or email.';

function Frame({ title, lead, children, foot }) {
  useEffect(() => { document.title = title + ' · Switchyard'; }, [title]);
  return html`<main class="gate"><div class="gate-card">
    <${Logo} />
    <h1 tabindex="-1">${title}</h1>${lead && html`<p class="muted">${lead}</p>`}
    ${children}
  </div>${foot && html`<p class="gate-foot">${foot}</p>`}</main>`;
}

// useForm keeps the values of fields and submits them.
function useForm(values, submit) {
  const [form, setForm] = useState(values);
  const act = useAction(() => submit(form));
  const bind = (name) => ({ name, value: form[name], onInput: (v) => setForm((f) => ({ ...f, [name]: v })) });
  const onSubmit = (e) => {
    e.preventDefault();
    act.run();
  };
  return { form, act, bind, onSubmit };
}

// after is where the user goes once signed in: the page that was asked for.
function after() {
  const wanted = place.get().query.get('next') || '/';
  navigate(/^\/(?![/\\])/.test(wanted) ? wanted : '/', { replace: true });
}

export function SignIn() {
  const { act, bind, onSubmit } = useForm({ email: '', password: '' }, async (f) => {
    await signIn(f.email, f.password);
    after();
  });
  return html`<${Frame} title="Sign in" lead="Your WhatsApp sessions, in one place."
    foot=${html`New here? <a href="/register">Create an account</a>`}>
    <form class="stack" onSubmit=${onSubmit} novalidate>
      <${Field} label="Email" type="email" autocomplete="username" required autofocus ...${bind('email')} error=${fieldProblem(act.error, 'email')} />
      <${Password} label="Password" autocomplete="current-password" required ...${bind('password')} error=${fieldProblem(act.error, 'password')} />
      <${FormProblem} error=${act.error} fields=${['email', 'password']} />
      <${Button} type="submit" variant="primary" icon="log-in" isBusy=${act.isBusy} class="full">Sign in<//>
      <p class="center"><a href="/forgot-password">Forgot your password?</a></p>
    </form>
  <//>`;
}

export function Register() {
  const { act, bind, onSubmit } = useForm({ name: '', email: '', password: '' }, async (f) => {
    await register(f.name, f.email, f.password);
    after();
  });
  return html`<${Frame} title="Create an account" lead="One minute, then you link your first phone."
    foot=${html`Have an account already? <a href="/sign-in">Sign in</a>`}>
    <form class="stack" onSubmit=${onSubmit} novalidate>
      <${Field} label="Name" autocomplete="name" autocapitalize="words" required autofocus ...${bind('name')} error=${fieldProblem(act.error, 'name')} />
      <${Field} label="Email" type="email" autocomplete="username" required ...${bind('email')} error=${fieldProblem(act.error, 'email')} />
      <${Password} label="Password" autocomplete="new-password" required hint=${passwordHint} ...${bind('password')} error=${fieldProblem(act.error, 'password')} />
      <${FormProblem} error=${act.error} fields=${['name', 'email', 'password']} />
      <${Button} type="submit" variant="primary" icon="user-plus" isBusy=${act.isBusy} class="full">Create the account<//>
    </form>
  <//>`;
}

export function ForgotPassword() {
  const [sent, setSent] = useState('');
  const { act, bind, onSubmit } = useForm({ email: '' }, async (f) => {
    setSent((await publicPost('/auth/forgot-password', { email: f.email })).message);
  });
  return html`<${Frame} title="Forgotten password" lead="We mail you a code that sets a new one. It works once, for 30 minutes."
    foot=${html`<a href="/sign-in">Back to sign in</a>`}>
    ${sent ? html`<div class="stack"><${Note} tone="good"><p>${sent}.</p><//>
        <a class="button primary full" href="/reset-password">I have the code</a></div>`
      : html`<form class="stack" onSubmit=${onSubmit} novalidate>
        <${Field} label="Email" type="email" autocomplete="username" required autofocus ...${bind('email')} error=${fieldProblem(act.error, 'email')} />
        <${FormProblem} error=${act.error} fields=${['email']} />
        <${Button} type="submit" variant="primary" icon="mail" isBusy=${act.isBusy} class="full">Mail me a code<//>
      </form>`}
  <//>`;
}

// The token of a mailed link is in the fragment or in the query. It leaves the address at once.
function takeToken() {
  const { query, hash } = place.get();
  return query.get('token') || new URLSearchParams(hash.slice(1)).get('token') || (hash.includes('=') ? '' : hash.slice(1));
}

export function ResetPassword() {
  const [given] = useState(takeToken);
  const [isDone, setDone] = useState(false);
  useEffect(() => { if (given) navigate('/reset-password', { replace: true }); }, []);
  const { act, bind, onSubmit } = useForm({ token: given, newPassword: '' }, async (f) => {
    await publicPost('/auth/reset-password', { token: f.token.trim(), newPassword: f.newPassword });
    setDone(true);
  });
  return html`<${Frame} title="New password" foot=${html`<a href="/sign-in">Back to sign in</a>`}>
    ${isDone ? html`<div class="stack"><${Note} tone="good"><p>The password is set, and every earlier sign-in has ended.</p><//>
        <a class="button primary full" href="/sign-in">Sign in</a></div>`
      : html`<form class="stack" onSubmit=${onSubmit} novalidate>
        ${!given && html`<${Field} label="Code from the mail" autocomplete="one-time-code" required autofocus ...${bind('token')} error=${fieldProblem(act.error, 'token')} />`}
        <${Password} label="New password" autocomplete="new-password" required hint=${passwordHint} ...${bind('newPassword')} error=${fieldProblem(act.error, 'newPassword')} />
        <${FormProblem} error=${act.error} fields=${given ? ['newPassword'] : ['token', 'newPassword']} />
        <${Button} type="submit" variant="primary" icon="lock" isBusy=${act.isBusy} class="full">Set the password<//>
      </form>`}
  <//>`;
}

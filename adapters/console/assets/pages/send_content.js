// send_content has the fields of each type of message, and what they become in the body of a send.
import { html, useRef, useState } from '../lib.js';
import { Icon } from '../ui/icon.js';
import { Button } from '../ui/button.js';
import { Check, Field, TextArea } from '../ui/field.js';
import { fieldProblem } from '../ui/note.js';
import { bytes } from '../ui/time.js';

const accepted = { image: 'image/*', audio: 'audio/*', video: 'video/*', sticker: 'image/webp', document: '' };

export const isMedia = (type) => type in accepted;

// Drop takes a file by a drop, a paste or a choice.
function Drop({ type, file, onFile, error }) {
  const input = useRef(null);
  const [isOver, setOver] = useState(false);
  const over = (is) => (e) => {
    e.preventDefault();
    setOver(is);
  };
  const drop = (e) => {
    e.preventDefault();
    setOver(false);
    const [first] = e.dataTransfer?.files || e.clipboardData?.files || [];
    if (first) onFile(first);
  };
  if (file) {
    return html`<div class="drop chosen"><${Icon} name="file" /><div class="grow"><p class="clip">${file.name}</p><p class="small muted">${bytes(file.size)}</p></div>
      <${Button} variant="quiet" icon="x" label=${'Remove ' + file.name} onClick=${() => onFile(null)} /></div>${error && html`<p class="problem"><${Icon} name="circle-alert" size="16" />${error}</p>`}`;
  }
  return html`<div class=${'drop' + (isOver ? ' over' : '')} onDragOver=${over(true)} onDragLeave=${over(false)} onDrop=${drop} onPaste=${drop}>
    <${Icon} name="upload" size="24" /><p>Drop a file here, or <button type="button" class="as-link" onClick=${() => input.current.click()}>choose one</button></p>
    <input ref=${input} type="file" class="hidden" tabindex="-1" aria-label="File" accept=${accepted[type] || undefined} onChange=${(e) => { if (e.currentTarget.files[0]) onFile(e.currentTarget.files[0]); }} />
    </div>${error && html`<p class="problem"><${Icon} name="circle-alert" size="16" />${error}</p>`}`;
}

function MediaFields({ form, set, error }) {
  const hasCaption = form.type === 'image' || form.type === 'video' || form.type === 'document';
  return html`<${Drop} type=${form.type} file=${form.file} onFile=${(file) => set({ file, filename: '' })} error=${fieldProblem(error, 'media')} />
    ${!form.file && html`<${Field} label="Or its address" name="mediaUrl" type="url" placeholder="https://" value=${form.mediaUrl || ''} onInput=${(mediaUrl) => set({ mediaUrl })} error=${fieldProblem(error, 'mediaUrl')} />`}
    ${form.type === 'document' && html`<${Field} label="File name" isOptional value=${form.filename || ''} onInput=${(filename) => set({ filename })} error=${fieldProblem(error, 'filename')} />`}
    ${hasCaption && html`<${TextArea} label="Caption" isOptional rows="2" maxlength="1024" dir="auto" value=${form.caption || ''} onInput=${(caption) => set({ caption })} error=${fieldProblem(error, 'caption')} />`}`;
}

const some = (values) => Object.fromEntries(Object.entries(values).filter(([, v]) => v !== undefined && v !== ''));
const number = (text) => (text?.trim() && Number.isFinite(Number(text)) ? Number(text) : undefined);

const media = {
  fields: ['media', 'mediaUrl', 'caption', 'filename'],
  view: MediaFields,
  body: (f) => some({ mediaUrl: f.file ? '' : f.mediaUrl || '', caption: f.caption, filename: f.type === 'document' ? f.filename : '' }),
};

// contents has the view, the fields and the body of each type.
export const contents = {
  text: {
    fields: ['message'],
    view: ({ form, set, error }) => html`<${TextArea} label="Message" name="message" rows="4" required maxlength="4096" dir="auto" value=${form.message || ''}
      onInput=${(message) => set({ message })} error=${fieldProblem(error, 'message')} hint=${`${(form.message || '').length} of 4096 characters`} />`,
    body: (f) => ({ message: f.message || '' }),
  },
  image: media, document: media, audio: media, video: media, sticker: media,
  location: {
    fields: ['location.latitude', 'location.longitude', 'location.name', 'location.address'],
    view: ({ form, set, error }) => html`<div class="pair"><${Field} label="Latitude" inputmode="decimal" placeholder="-6.2" value=${form.latitude || ''} onInput=${(latitude) => set({ latitude })} error=${fieldProblem(error, 'location.latitude', 'location')} />
      <${Field} label="Longitude" inputmode="decimal" placeholder="106.8" value=${form.longitude || ''} onInput=${(longitude) => set({ longitude })} error=${fieldProblem(error, 'location.longitude')} /></div>
      <${Field} label="Name" isOptional value=${form.placeName || ''} onInput=${(placeName) => set({ placeName })} error=${fieldProblem(error, 'location.name')} />
      <${Field} label="Address" isOptional value=${form.address || ''} onInput=${(address) => set({ address })} error=${fieldProblem(error, 'location.address')} />`,
    body: (f) => ({ location: some({ latitude: number(f.latitude), longitude: number(f.longitude), name: f.placeName, address: f.address }) }),
  },
  contact: {
    fields: ['contact.name', 'contact.phone', 'contact.email', 'contact.organization'],
    view: ({ form, set, error }) => html`<${Field} label="Name" value=${form.contactName || ''} onInput=${(contactName) => set({ contactName })} error=${fieldProblem(error, 'contact.name')} />
      <${Field} label="Phone" type="tel" value=${form.contactPhone || ''} onInput=${(contactPhone) => set({ contactPhone })} error=${fieldProblem(error, 'contact.phone')} />
      <div class="pair"><${Field} label="Email" isOptional type="email" value=${form.contactEmail || ''} onInput=${(contactEmail) => set({ contactEmail })} error=${fieldProblem(error, 'contact.email')} />
      <${Field} label="Organization" isOptional value=${form.organization || ''} onInput=${(organization) => set({ organization })} error=${fieldProblem(error, 'contact.organization')} /></div>`,
    body: (f) => ({ contact: some({ name: f.contactName, phone: f.contactPhone, email: f.contactEmail, organization: f.organization }) }),
  },
  link: {
    fields: ['link.url', 'link.title', 'link.description'],
    view: ({ form, set, error }) => html`<${Field} label="Address" type="url" placeholder="https://" value=${form.url || ''} onInput=${(url) => set({ url })} error=${fieldProblem(error, 'link.url')} />
      <${Field} label="Title" isOptional value=${form.title || ''} onInput=${(title) => set({ title })} error=${fieldProblem(error, 'link.title')} />
      <${Field} label="Description" isOptional value=${form.description || ''} onInput=${(description) => set({ description })} error=${fieldProblem(error, 'link.description')} />`,
    body: (f) => ({ link: some({ url: f.url, title: f.title, description: f.description }) }),
  },
  poll: {
    fields: ['poll.question', 'poll.options'],
    view: ({ form, set, error }) => html`<${Field} label="Question" value=${form.question} onInput=${(question) => set({ question })} error=${fieldProblem(error, 'poll.question')} />
      ${form.options.map((text, i) => html`<div class="with-button" key=${i}><${Field} class="grow" label=${'Answer ' + (i + 1)} value=${text}
          onInput=${(v) => set((f) => ({ options: f.options.map((old, at) => (at === i ? v : old)) }))} error=${i === 0 ? fieldProblem(error, 'poll.options') : fieldProblem(error, `poll.options[${i}]`)} />
        ${form.options.length > 2 && html`<${Button} variant="quiet" icon="x" label=${'Remove answer ' + (i + 1)} onClick=${() => set({ options: form.options.filter((_, at) => at !== i) })} />`}</div>`)}
      ${form.options.length < 12 && html`<div><${Button} isSmall icon="plus" onClick=${() => set({ options: [...form.options, ''] })}>Another answer<//></div>`}
      <${Check} label="Several answers allowed" checked=${form.multipleAnswers} onInput=${(multipleAnswers) => set({ multipleAnswers })} />`,
    body: (f) => ({ poll: { question: f.question, options: f.options.filter((o) => o.trim()), multipleAnswers: f.multipleAnswers } }),
  },
};

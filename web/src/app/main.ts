import '../styles/tokens.css';
import '../styles/base.css';

import { mount } from 'svelte';

import { whenServerTellsTime } from '../api';
import App from './App.svelte';
import { account } from './state/account.svelte';
import { serverSaid } from './state/clock.svelte';

whenServerTellsTime(serverSaid);
void account.load();

const target = document.getElementById('app');
if (target) mount(App, { target });

// What the audit trail records, in plain words.

import type { AuditKind } from '../../api';

const WORDS: Record<AuditKind, string> = {
  'account.registered': 'Registered',
  'account.added': 'Account added at the command line',
  'account.profileChanged': 'Name changed',
  'account.emailChanged': 'E-mail address changed',
  'account.roleChanged': 'Role changed',
  'account.deactivated': 'Account deactivated',
  'account.activated': 'Account activated',
  'account.quotaChanged': 'Quota changed',
  'password.changed': 'Password changed',
  'password.resetRequested': 'Password reset asked for',
  'password.resetLinkMade': 'Reset link made by an administrator',
  'password.reset': 'Password reset',
  'signIn.ok': 'Signed in',
  'signIn.failed': 'Sign-in failed',
  'signIn.locked': 'Sign-in paused after failures',
  'signIn.revoked': 'Sign-in ended',
  'signIn.signedOut': 'Signed out',
  'signIn.signedOutEverywhere': 'Signed out everywhere',
  'signIn.refreshReused': 'Sign-in ended: its token came twice',
  'invite.made': 'Invite made',
  'invite.used': 'Invite used',
  'session.ended': 'Session ended by an administrator',
};

/** Another version of the server may have recorded what this one does not know. */
export const auditWords = (kind: string): string => (WORDS as Record<string, string>)[kind] ?? kind;

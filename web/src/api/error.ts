// Refusals and failures of calls, as one type.

import type { components } from './schema';

/** What a call failed with: the server's problem details, or `code` "network" when there was no answer at all. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly requestId: string | null;
  /** By field name. */
  readonly fields: Readonly<Record<string, string>>;
  /** Other members of the problem, such as `sessionId`. */
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(status: number, problem: Partial<components['schemas']['ProblemDetails']> & Record<string, unknown>) {
    super(problem.detail || problem.title || `The server answered ${status}.`);
    this.name = 'ApiError';
    this.status = status;
    this.code = problem.code ?? `http.${status}`;
    this.requestId = problem.requestId ?? null;
    this.fields = Object.fromEntries((problem.errors ?? []).map(({ field, message }) => [field, message]));
    this.extra = problem;
  }

  static network(): ApiError {
    return new ApiError(0, {
      code: 'network',
      title: 'The server does not answer.',
      detail: 'The server does not answer. Check your network connection, then try again.',
    });
  }

  static async from(response: Response): Promise<ApiError> {
    const type = response.headers.get('content-type') ?? '';
    if (type.includes('json')) {
      try {
        return new ApiError(response.status, await response.json());
      } catch {
        // Cut off in the middle: the status is all there is.
      }
    }
    return new ApiError(response.status, {});
  }
}

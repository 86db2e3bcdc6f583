// k6: RATE unset: USERS in a closed loop; else that many arrivals a second, evenly.
import http from 'k6/http';

const body = new Uint8Array(64).buffer;
const url = `http://127.0.0.1:${__ENV.PORT}/`;
const closed = { executor: 'constant-vus', vus: Number(__ENV.USERS), duration: '120s' };
const open = {
  executor: 'constant-arrival-rate',
  rate: Number(__ENV.RATE || 1),
  timeUnit: '1s',
  duration: '120s',
  preAllocatedVUs: Number(__ENV.USERS),
  maxVUs: 4 * Number(__ENV.USERS),
};

export const options = {
  scenarios: { load: __ENV.RATE ? open : closed },
  discardResponseBodies: true,
  summaryTrendStats: ['med', 'p(90)', 'p(99)'],
};

export default function () {
  http.post(url, body);
}

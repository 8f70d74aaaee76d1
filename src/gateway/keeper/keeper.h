/* The keeper: the main process of a gateway. Supervises the loader and the workers, owns the listening sockets, holds the link to the controller and the
 * accepted documents and units on disk, tells workers which unit file to map, collects their acknowledgements, takes their
 * usage counts and log lines, serves /metrics. It never touches a byte of traffic.
 *
 *   starting --[lock, disk looked at, ports free]--> running --[SIGTERM, SIGINT]--> draining --[all workers gone]--> exit
 *                                                    running --[SIGUSR1, SIGUSR2]--> parting: upgrade.c
 *
 * K1. Its death changes nothing for traffic: workers are not tied to it, and the next keeper adopts them, or replaces them when
 *     they run another program or other options.
 * K2. Workers listen once they have every unit that the disk gives (SYNCED): a gateway never answers from a part of it.
 * K3. A change costs what that unit costs: no step looks at all tenants, and the one sync of the document runs while the
 *     loader compiles it.
 * K4. A unit file that a worker finds damaged is compiled again from its document, at once the first time and then at most
 *     every 2 s. Until then workers that map the former file serve on, none is told of the damaged one, and the controller
 *     knows on how many the unit is live. Without a sound document the controller is asked for one.
 *
 * A change:  UNIT --> staged on disk --> loader compiles | document is synced --> files renamed --> UNIT to workers
 *                                                                             --> APPLIED by all --> ACK live n of n */
#ifndef DM_GATEWAY_KEEPER_KEEPER_H
#define DM_GATEWAY_KEEPER_KEEPER_H

struct dm_gateway_options;

/* The role `keeper` of daemun-gateway. Returns the exit code, or DM_KEEPER_NEXT: workers serve on, and this process is to
 * become options->program now; when it can't, to call this again. */
#define DM_KEEPER_NEXT (-1)
int dm_keeper_main(const struct dm_gateway_options *options);

/* The role `check`: could a keeper start with these options, beside the workers that live? Returns the exit code. */
int dm_keeper_check_main(const struct dm_gateway_options *options);

#endif

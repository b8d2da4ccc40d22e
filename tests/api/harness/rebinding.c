// Makes the name rebind.example.com have another address each time a process resolves it: first a
// public one, then this machine, then both. Other names are resolved as usual. A process loads it
// with LD_PRELOAD.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdatomic.h>
#include <string.h>

// In no special-purpose network, and nobody's.
static const char *public_address = "192.0.3.1";
static const char *private_address = "127.0.0.1";

static atomic_uint asked;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    static int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    if (!node || strcmp(node, "rebind.example.com") != 0)
        return next(node, service, hints, found);
    unsigned turn = atomic_fetch_add(&asked, 1) % 3;
    int error = next(turn == 1 ? private_address : public_address, service, hints, found);
    if (error || turn != 2)
        return error;
    struct addrinfo *last = *found;
    while (last->ai_next)
        last = last->ai_next;
    return next(private_address, service, hints, &last->ai_next);
}

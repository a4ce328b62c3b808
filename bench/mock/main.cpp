// keyhole-bench-mock: the mock provider as a program. Prints one line when it serves, ends on SIGTERM.
#include "bench/mock/provider.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>

int main(int argc, char** argv)
{
    using namespace keyhole::bench;
    CLI::App app{"A provider that answers as fast as it can, demands a key, and counts what it would bill."};
    std::vector<std::string> plain;
    std::vector<std::string> tls;
    std::vector<std::string> keys;
    std::string certificate;
    std::string key;
    std::string script_text;
    app.add_option("--listen", plain, "tcp:127.0.0.1:PORT or unix:PATH")->required();
    app.add_option("--listen-tls", tls, "the same with TLS")
        ->needs(app.add_option("--certificate", certificate, "PEM file"));
    app.add_option("--certificate-key", key, "PEM file");
    app.add_option("--key", keys, "a provider key; each has books of its own")->required();
    app.add_option("--script", script_text, "how to answer where no x-bench-script says so");
    CLI11_PARSE(app, argc, argv);
    try {
        script by_default;
        if (!parse_script(script_text, by_default))
            throw std::invalid_argument{"--script makes no sense: " + script_text};
        raise_descriptor_limit();
        books b;
        for (const auto& k : keys)
            b.add_key(k);
        provider p{b, by_default};
        std::unique_ptr<SSL_CTX, ssl_free> context;
        if (!tls.empty()) context = server_context(certificate, key);
        for (const auto& where : plain)
            p.listen(parse_address(where), nullptr);
        for (const auto& where : tls)
            p.listen(parse_address(where), context.get());
        std::puts("{\"ready\":true}");
        std::fflush(stdout);
        p.run();
    } catch (const std::exception& e) {
        std::fprintf(stderr, "keyhole-bench-mock: %s\n", e.what());
        return 1;
    }
    return 0;
}

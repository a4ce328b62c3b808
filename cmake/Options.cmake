# What every target of ours is built with: warnings as errors, hardening, the sanitizer of the preset, ccache.
find_program(CCACHE ccache)
if(CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

add_library(keyhole_options INTERFACE)
target_include_directories(keyhole_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(keyhole_options INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Wold-style-cast
    -Woverloaded-virtual -Wformat=2 -Wimplicit-fallthrough -Wcast-qual -Wextra-semi -Wundef -Wmissing-declarations
    $<$<CXX_COMPILER_ID:GNU>:-Werror>
    $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wsuggest-override -Wuseless-cast
        # False positives of g++ 12.2 on Asio's concrete executors and on fully inlined std::string moves.
        -Wno-mismatched-new-delete -Wno-maybe-uninitialized -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds
        -Wno-tsan>
    -fstack-protector-strong -fPIE)
target_compile_definitions(keyhole_options INTERFACE KEYHOLE_VERSION="${PROJECT_VERSION}")

if(KEYHOLE_FUZZERS)
    # What is fuzzed must tell the fuzzer where it has been; only the fuzzers themselves link its main().
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

set(KEYHOLE_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize= takes them")
if(KEYHOLE_SANITIZE)
    add_compile_options(-fsanitize=${KEYHOLE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${KEYHOLE_SANITIZE})
    if(KEYHOLE_SANITIZE MATCHES address)
        # Asio recycles coroutine frames per thread, which would hide a use after free from ASan.
        add_compile_definitions(BOOST_ASIO_DISABLE_SMALL_BLOCK_RECYCLING)
    endif()
else()
    target_compile_options(keyhole_options INTERFACE
        $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-clash-protection>
        $<$<CONFIG:Release>:$<IF:$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},aarch64>,-mbranch-protection=standard,-fcf-protection>>)
    add_link_options(-Wl,-z,relro,-z,now)
endif()

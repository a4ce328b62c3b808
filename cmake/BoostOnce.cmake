# Asio's, Beast's and Boost.JSON's non-template code, compiled once. Everything that uses them links boost_once, so
# that the configuration macros are the same in every translation unit of a binary.
find_package(Boost 1.81 REQUIRED)
find_package(OpenSSL 3 REQUIRED)
find_package(Threads REQUIRED)
add_library(boost_once STATIC ${CMAKE_SOURCE_DIR}/cmake/boost_once.cpp)
target_compile_definitions(boost_once PUBLIC
    BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION
    BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_NO_TS_EXECUTORS
    # Frames and operations come from operator new: glibc's aligned_alloc() goes past its per-thread cache, and
    # Asio's own takes the first block that is large enough, so that many streams held blocks twice their size.
    BOOST_ASIO_DISABLE_STD_ALIGNED_ALLOC BOOST_ASIO_DISABLE_BOOST_ALIGN
    BOOST_ASIO_DISABLE_SMALL_BLOCK_RECYCLING)
target_include_directories(boost_once SYSTEM PUBLIC ${Boost_INCLUDE_DIRS})
target_link_libraries(boost_once PUBLIC OpenSSL::SSL OpenSSL::Crypto Threads::Threads)

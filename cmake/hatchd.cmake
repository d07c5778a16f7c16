# What every target of the tree shares: warnings as errors, sanitizers, and the few kinds of target there are.

option(HATCHD_SANITIZE "AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(HATCHD_FUZZ "the fuzzers of tests/fuzz, in place of the other tests; takes clang" OFF)

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror
                    -fstack-protector-strong -fno-omit-frame-pointer)
# Shadowing by constructor parameters that initialise the member of the same name is how we write constructors.
add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-shadow> $<$<CXX_COMPILER_ID:GNU>:-Wshadow=local>)
if(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  add_compile_definitions(_FORTIFY_SOURCE=2)
endif()
if(HATCHD_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined)
  # GCC: instrumented code defeats its flow analysis; <regex> then warns of itself.
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  add_link_options(-fsanitize=address,undefined)
endif()
if(HATCHD_FUZZ)
  # g++ is the compiler here: clang's opinions do not count. Its `function` check cannot cope with coroutines (LLVM 14).
  add_compile_options(-fsanitize=fuzzer-no-link -fno-sanitize=function -Wno-error)
endif()
add_link_options(-Wl,-z,relro,-z,now,--as-needed)

# hatchd_library(NAME sources...): one folder of daemon/, target hatchd_NAME, includes written from daemon/.
function(hatchd_library name)
  add_library(hatchd_${name} STATIC ${ARGN})
  target_include_directories(hatchd_${name} PUBLIC ${PROJECT_SOURCE_DIR}/daemon)
endfunction()

# hatchd_plugin(NAME sources...): a shared object in plugins/, exporting its entry alone.
function(hatchd_plugin name)
  add_library(plugin_${name} MODULE ${ARGN})
  set_target_properties(plugin_${name} PROPERTIES OUTPUT_NAME ${name} PREFIX ""
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plugins)
  target_link_libraries(plugin_${name} PRIVATE hatch_sdk)
  # No symbol of a static library it links may leak: two plugins, or a plugin and its host, must not meet.
  target_link_options(plugin_${name} PRIVATE -Wl,--exclude-libs,ALL)
endfunction()
